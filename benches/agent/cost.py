#!/usr/bin/env python3
"""What an agent costs: memory at rest, processor time at 10 MB/s, a store that is away, time from a line to its answer.

    benches/agent/cost.py BINARY [--seconds 60] [--idle] [--files] [--away] [--latency] [--flood] [--daemon]
                                 [--outage 3600 [--rate 1]]

Agent and store are two processes of the same binary. Processor time is that of the agent alone, in shares of a core, so it
holds on a machine that others use too; times of the clock do not. --outage is --away for so many seconds at so many
MB/s: an hour at 1 MB/s is what the agent promises to sit out with memory flat and a bounded spool. --flood is the time from a
line to its answer while another container prints as fast as it can, --daemon the engine's processor time for 300,000 lines that
are read from it, from its files, or not at all. --idle, --flood and --daemon need root, dockerd and a static busybox. Lines
are made up, or those of the *.log files of LOGYARD_LOG_FOLDER. Without a choice all parts are measured.
"""

import argparse
import contextlib
import glob
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    """A logyard that is measured from outside."""

    def __init__(self, arguments, environment=None):
        self.arguments, self.environment = arguments, {**os.environ, **(environment or {})}
        self.start()

    def start(self):
        self.child = subprocess.Popen(
            self.arguments, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self):
        self.child.terminate()
        self.child.wait()

    def kill(self):
        self.child.kill()
        self.child.wait()

    def cpu_secs(self):
        fields = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self, name="VmRSS"):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024 / 1e6


class Pair:
    """A store, and an agent that reads the files of a folder, or an engine."""

    def __init__(self, binary, folder, engine=None, reads=None):
        self.folder, self.logs = folder, folder / "logs"
        self.logs.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        none = {"LOGYARD_AGENT__DOCKER__ENABLED": "false"}
        self.store = Process([binary, "store", "--listen", self.url[7:], "--data-dir", folder / "store"], none)
        self.wait_ready()
        config = folder / "logyard.yaml"
        config.write_text(f"agent: {{files: [{{path: ['{self.logs}/*.log'], labels: {{job: cost}}}}]}}\n")
        arguments = [binary, "agent", "--push-url", self.url, "--listen", f"127.0.0.1:{free_port()}"]
        engine = {"DOCKER_HOST": engine, "LOGYARD_AGENT__DOCKER__READ": reads or "api"} if engine else None
        files = [] if engine else ["--config", config]
        self.agent = Process([*arguments, "--data-dir", folder / "agent", *files], engine or none)

    def wait_ready(self):
        for _ in range(600):
            try:
                return urllib.request.urlopen(f"{self.url}/ready", timeout=5).read()
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the store is not ready within a minute")

    def ask(self, query):
        address = f"{self.url}/loki/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        result = json.load(urllib.request.urlopen(address, timeout=60))["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    def stamps(self, query, limit):
        """Times of the entries of a query, in seconds, the oldest first."""
        asked = {"query": query, "limit": limit, "direction": "forward", "start": f"{time.time() - 3000:.0f}"}
        address = f"{self.url}/loki/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        streams = json.load(urllib.request.urlopen(address, timeout=60))["data"]["result"]
        return sorted(int(value[0]) / 1e9 for stream in streams for value in stream["values"])

    def taken(self):
        """Entries that the store took since its start."""
        text = urllib.request.urlopen(f"{self.url}/metrics", timeout=60).read().decode()
        names = ("logyard_ingest_accepted_entries_total",)
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(names))

    def stored(self):
        return self.ask('sum(count_over_time({job="cost"}[2h]))')

    def end(self):
        self.agent.stop()
        self.store.stop()


def lines():
    """About a megabyte of lines."""
    found = []
    for path in glob.glob(os.path.join(os.environ.get("LOGYARD_LOG_FOLDER", "/nonexistent"), "*.log")):
        found += pathlib.Path(path).read_bytes().splitlines()[:20_000]
    number = 0
    while not found or sum(map(len, found)) < 1_000_000:
        number += 1
        found.append(
            f'10.0.{number % 250}.{number * 7 % 250} - - "GET /api/items/{number * 7919 % 100_003}?page={number % 40} '
            f'HTTP/1.1" {[200, 200, 304, 404][number % 4]} {number * 31 % 9_000} "curl/8.{number % 9}" {number % 900}ms'.encode()
        )
        found.append(
            f'{{"level":"{["info", "warn", "debug"][number % 3]}","msg":"request done","path":"/v1/users/{number * 13 % 9_973}",'
            f'"took_ms":{number % 1_700},"trace":"{number * 2654435761 % 2**32:08x}"}}'.encode()
        )
    return found


class Writer(threading.Thread):
    """Writes lines to ten files at a rate."""

    def __init__(self, logs, mb_per_sec, seconds):
        super().__init__()
        self.files = [open(logs / f"{number}.log", "ab", buffering=0) for number in range(10)]
        self.rate, self.seconds, self.count, self.bytes = mb_per_sec * 1e6, seconds, 0, 0

    def run(self):
        text, at, begun = lines(), 0, time.monotonic()
        while (passed := time.monotonic() - begun) < self.seconds:
            while self.bytes < passed * self.rate:
                some = [text[(at + number) % len(text)] for number in range(200)]
                at += 200
                block = b"\n".join(some) + b"\n"
                self.files[at // 200 % 10].write(block)
                self.count, self.bytes = self.count + 200, self.bytes + len(block)
            time.sleep(0.02)


def settle(pair, count, within=600):
    until = time.monotonic() + within
    while pair.stored() < count:
        if time.monotonic() > until:
            raise SystemExit(f"{pair.stored()} of {count} lines within {within} s")
        time.sleep(0.2)


def files(binary, folder, seconds):
    pair = Pair(binary, folder)
    time.sleep(2)
    writer, begun, cpu = Writer(pair.logs, 10, seconds), time.monotonic(), pair.agent.cpu_secs()
    writer.start()
    writer.join()
    settle(pair, writer.count)
    took, used = time.monotonic() - begun, pair.agent.cpu_secs() - cpu
    rate = writer.bytes / 1e6 / seconds
    print(f"files: {rate:.1f} MB/s for {seconds} s: {used / (writer.bytes / 1e7):.1%} of a core at 10 MB/s, "
          f"most memory {pair.agent.memory_mb('VmHWM'):.1f} MB, all stored after {took:.0f} s")
    pair.end()


def away(binary, folder, seconds, rate=1):
    pair = Pair(binary, folder)
    time.sleep(2)
    first = Writer(pair.logs, rate, 5)
    first.run()
    settle(pair, first.count)
    pair.store.kill()
    writer, sizes = Writer(pair.logs, rate, seconds), []
    writer.start()
    while writer.is_alive():
        time.sleep(seconds / 10)
        sizes.append(pair.agent.memory_mb())
    spool = sum(path.stat().st_size for path in (folder / "agent").rglob("*") if path.is_file())
    pair.store.start()
    pair.wait_ready()
    begun = time.monotonic()
    # The agent tries again every few seconds; the drain begins with the first batch that is taken.
    while not pair.taken():
        time.sleep(0.01)
    drain = time.monotonic()
    while pair.taken() < writer.count * 0.99 and time.monotonic() < begun + 600:
        time.sleep(0.02)
    drained = 0.99 * writer.bytes / 1e6 / (time.monotonic() - drain)
    settle(pair, first.count + writer.count)
    print(f"away: {writer.bytes / 1e6:.0f} MB in {seconds} s without a store: memory {' '.join(f'{size:.1f}' for size in sizes)} MB, "
          f"spool {spool / 1e6:.1f} MB; then begun after {drain - begun:.1f} s and drained at {drained:.1f} MB/s, "
          f"all of {first.count + writer.count} lines there, {pair.stored() - first.count - writer.count:.0f} too many, "
          f"agent at most {pair.agent.memory_mb('VmHWM'):.1f} MB")
    pair.end()


def latency(binary, folder, seconds):
    pair = Pair(binary, folder)
    time.sleep(3)
    spans = []
    with open(pair.logs / "one.log", "ab", buffering=0) as log:
        # A file that is new is found later than a line of one that is read.
        log.write(b"first\n")
        settle(pair, 1)
        for number in range(max(seconds, 20)):
            log.write(f"number {number}\n".encode())
            begun = time.monotonic()
            while pair.ask(f'sum(count_over_time({{job="cost"}} |= "number {number}" [5m]))') < 1:
                time.sleep(0.005)
            spans.append(time.monotonic() - begun)
            time.sleep(0.37)
    spans.sort()
    print(f"latency: {len(spans)} lines, from the write to the answer of a query: median {spans[len(spans) // 2]:.2f} s, "
          f"p99 {spans[len(spans) * 99 // 100]:.2f} s")
    pair.end()


class Engine:
    """An engine of its own, without networks, and the image `cost:1` of a static busybox."""

    def __init__(self, folder):
        self.folder, self.host = folder, f"unix://{folder}/docker.sock"
        self.environment = {**os.environ, "DOCKER_HOST": self.host}
        self.daemon = subprocess.Popen(
            ["unshare", "--net", "dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile",
             folder / "pid", "--host", self.host, "--bridge", "none", "--iptables=false", "--ip6tables=false"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def docker(self, *arguments):
        return subprocess.run(["docker", *arguments], env=self.environment, check=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)

    def prepare(self):
        for _ in range(300):
            with contextlib.suppress(subprocess.CalledProcessError):
                self.docker("version")
                break
            time.sleep(0.2)
        image = self.folder / "image/bin"
        image.mkdir(parents=True)
        subprocess.run(["cp", "/bin/busybox", image / "busybox"], check=True)
        for applet in ["sh", "sleep", "echo", "awk", "yes"]:
            (image / applet).symlink_to("busybox")
        subprocess.run(["tar", "-C", self.folder / "image", "-cf", self.folder / "image.tar", "."], check=True)
        self.docker("import", str(self.folder / "image.tar"), "cost:1")

    def run(self, name, script, *options):
        self.docker("run", "-d", "--network", "none", "--name", name, *options, "cost:1", "sh", "-c", script)

    def cpu_secs(self):
        fields = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self):
        subprocess.run("docker ps -aq | xargs -r docker rm -f", shell=True, check=False, stdout=subprocess.DEVNULL,
                       env=self.environment)
        self.daemon.terminate()
        self.daemon.wait()


@contextlib.contextmanager
def engine_in(folder):
    engine = Engine(folder)
    try:
        engine.prepare()
        yield engine
    finally:
        engine.end()


def idle(binary, folder, seconds):
    with engine_in(folder) as engine:
        for number in range(50):
            engine.run(f"quiet-{number}", "echo up; sleep 100000")
        pair = Pair(binary, folder, engine.host)
        time.sleep(30)
        before = pair.agent.cpu_secs()
        time.sleep(seconds)
        share = (pair.agent.cpu_secs() - before) / seconds
        print(f"idle: 50 quiet containers: {pair.agent.memory_mb():.1f} MB resident "
              f"(of which {pair.agent.memory_mb('RssAnon'):.1f} MB its own), {share:.2%} of a core over {seconds} s")
        pair.end()


def flood(binary, folder, seconds):
    with engine_in(folder) as engine:
        pair = Pair(binary, folder, engine.host)
        engine.run("flood", "yes 'a line of a flood that never ends and is not short either'",
                   "--log-opt", "max-size=10m", "--log-opt", "max-file=3")
        time.sleep(3)
        count = max(seconds * 10, 200)
        engine.run("pulse", f"i=0; while [ $i -lt {count} ]; do echo pulse; i=$((i+1)); sleep 0.1; done")
        # Times are the engine's; a line is there as soon as a query tells of it, or of a later one.
        stamps, shown = [], []
        until = time.monotonic() + count * 0.1 + 120
        while len(stamps) < count and time.monotonic() < until:
            stamps = pair.stamps('{container="pulse"}', count)
            shown += [time.time()] * (len(stamps) - len(shown))
            time.sleep(0.01)
        spans = sorted(seen - stamp for seen, stamp in zip(shown, stamps))
        print(f"flood: {len(spans)} of {count} lines beside a container that prints as fast as it can, from the engine's time "
              f"to the answer of a query: median {spans[len(spans) // 2]:.2f} s, p99 {spans[len(spans) * 99 // 100]:.2f} s, "
              f"longest {spans[-1]:.2f} s")
        pair.end()


def daemon(binary, folder, seconds):
    used = {}
    for reads in ["nothing", "api", "files"]:
        place = folder / reads
        place.mkdir()
        with engine_in(place) as engine:
            pair = Pair(binary, place, engine.host, reads) if reads != "nothing" else None
            time.sleep(3)
            before = engine.cpu_secs()
            script = """awk 'BEGIN { for (i = 1; i <= 300000; i++) printf "line %06d %080d\\n", i, i }'"""
            engine.run("burst", script, "--log-opt", "max-size=10m", "--log-opt", "max-file=3")
            engine.docker("wait", "burst")
            until = time.monotonic() + 300
            while pair and pair.ask('sum(count_over_time({container="burst"} |= "line 300000" [1h]))') < 1:
                if time.monotonic() > until:
                    raise SystemExit("the last line is not there within 300 s")
                time.sleep(0.2)
            time.sleep(2)
            used[reads] = engine.cpu_secs() - before
            if pair:
                stored = pair.ask('sum(count_over_time({container="burst", stream="stdout"}[1h]))')
                print(f"daemon: of 300000 lines {stored:.0f} are stored, read from {'it' if reads == 'api' else 'files'}")
                pair.end()
    print(f"daemon: 300,000 lines of 92 bytes cost the engine {used['nothing']:.2f} s unread, {used['api']:.2f} s read from it, "
          f"{used['files']:.2f} s read from its files: {used['files'] / used['api']:.2f} of the other")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=int, default=60)
    parts = {"idle": idle, "files": files, "away": away, "latency": latency, "flood": flood, "daemon": daemon}
    for name in parts:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--outage", type=int, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=1, metavar="MB_PER_SEC")
    chosen = parser.parse_args()
    wanted = [name for name in parts if getattr(chosen, name)] or ([] if chosen.outage else list(parts))
    if chosen.outage:
        with tempfile.TemporaryDirectory(prefix="ly-cost-") as folder:
            away(os.path.abspath(chosen.binary), pathlib.Path(folder), chosen.outage, chosen.rate)
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="ly-cost-") as folder:
            parts[name](os.path.abspath(chosen.binary), pathlib.Path(folder), chosen.seconds)


if __name__ == "__main__":
    main()
