#!/usr/bin/env python3
"""What the explorer costs while entries come: redraws, bytes to the terminal, memory, processor time.

    benches/explorer/redraws.py LOGYARD LOGQ [--rate 5000] [--batches 20] [--keys 0] [--seconds 60] [--buffer 16MiB]

A store and `logq ui` run as two processes, the explorer on a terminal that this script reads. Lines are pushed at the
rate, in so many batches a second, and so many keys a second are pressed, which ask for a redraw each. A redraw is known
by the sequence that hides the cursor, which begins each. Memory is that of the explorer alone, once half-way, when the
buffer is full, and once at the end; processor time is its own, in shares of a core.
"""

import argparse
import fcntl
import json
import os
import pty
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
REDRAW = b"\x1b[?25l"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_ready(address):
    for _ in range(600):
        try:
            urllib.request.urlopen(address + "/ready", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the store is not ready")


def push(address, rate, batches, stopped):
    """Pushes lines of about 120 bytes until it is stopped; counts them in what it returns."""
    pushed, due = [0], time.monotonic()

    def run():
        nonlocal due
        while not stopped.is_set():
            count, now_ns = rate // batches, time.time_ns()
            lines = [
                [str(now_ns + index), f"level=info msg=\"request served\" path=/item/{pushed[0] + index} status=200 "
                 f"took=12ms client=10.0.0.{index % 250} agent=\"Mozilla/5.0\""]
                for index in range(count)
            ]
            body = json.dumps({"streams": [{"stream": {"container": "web"}, "values": lines}]}).encode()
            request = urllib.request.Request(address + "/loki/api/v1/push", body, {"Content-Type": "application/json"})
            try:
                urllib.request.urlopen(request, timeout=30).close()
            except OSError:
                if not stopped.is_set():
                    raise
                return
            pushed[0] += count
            due += 1 / batches
            time.sleep(max(0, due - time.monotonic()))

    threading.Thread(target=run, daemon=True).start()
    return pushed


def press(terminal, keys, stopped):
    """Moves the cursor up and down, so many keys a second."""
    def run():
        while not stopped.wait(1 / keys):
            os.write(terminal, b"k")

    if keys:
        threading.Thread(target=run, daemon=True).start()


def memory_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("logyard")
    parser.add_argument("logq")
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--buffer", default="16MiB")
    options = parser.parse_args()
    folder, port = tempfile.TemporaryDirectory(), free_port()
    address = f"http://127.0.0.1:{port}"
    store = subprocess.Popen(
        [options.logyard, "store", "--listen", f"127.0.0.1:{port}", "--data-dir", folder.name],
        stderr=subprocess.DEVNULL)
    stopped = threading.Event()
    pid = None
    try:
        wait_ready(address)
        pushed = push(address, options.rate, options.batches, stopped)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(options.logq, [options.logq, "ui", "{container=\"web\"}", "--addr", address, "--buffer", options.buffer])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        press(terminal, options.keys, stopped)
        begin, half, per_second, tail, written = time.monotonic(), None, {}, b"", 0
        while (passed := time.monotonic() - begin) < options.seconds:
            if half is None and passed > options.seconds / 2:
                half, cpu_half = memory_mb(pid), cpu_seconds(pid)
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            got = os.read(terminal, 1 << 16)
            written += len(got)
            # One that lies over the border of two reads is counted once.
            text = tail + got
            per_second[int(passed)] = per_second.get(int(passed), 0) + text.count(REDRAW)
            keep = len(REDRAW) - 1
            tail = text[-keep:]
        full = [count for second, count in per_second.items() if 2 <= second < options.seconds - 1]
        share = (cpu_seconds(pid) - cpu_half) / (options.seconds / 2)
        print(f"lines pushed            {pushed[0]} in {options.seconds} s")
        print(f"redraws per second      {sum(full) / len(full):.1f}, at most {max(full)}")
        print(f"bytes to the terminal   {written / options.seconds / 1024:.0f} KiB/s")
        print(f"memory half-way, end    {half:.1f} MB, {memory_mb(pid):.1f} MB")
        print(f"share of a core         {share * 100:.0f} %")
        stopped.set()
        os.write(terminal, b"q")
        while True:
            try:
                if not os.read(terminal, 1 << 16):
                    break
            except OSError:
                break
        print(f"exit status             {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
        pid = None
    finally:
        stopped.set()
        if pid:
            os.kill(pid, 9)
        store.kill()
        store.wait()


if __name__ == "__main__":
    main()
