#!/usr/bin/env python3
"""Writes crates/logyard/order.ld: which functions an agent and a store run, so that the linker puts them side by side.

    benches/agent/order.py BINARY [--without-docker]

BINARY is a release build with its symbols. It runs under valgrind as agent and store: at rest beside some containers, and with
some lines from a file that are asked for. Needs valgrind and nm; the containers need root, dockerd and a static busybox.

First comes what an agent runs at rest, once it is started: that is in memory all the time. Then what it runs to start and to stop,
small generic functions in all their forms, and what else ran. The names of functions are shortened to patterns: where nearly all of what begins with some letters ran, those
letters stand for all of it. Of a generic function the forms that ran are told apart by the compiler's hashes: without these twice as
much code is brought together. Another compiler or crate changes hashes, and the order of such functions is lost, and memory with
it, but nothing else: write it anew before a release. Where several forms of a generic function ran, and all of them take little,
none is told apart: each that lies elsewhere costs the 64 KiB around it.
"""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import cost

ORDER = pathlib.Path(__file__).resolve().parents[2] / "crates/logyard/order.ld"
# Share of the code with a prefix that ran, from which on the prefix stands for all of it.
SHARE_MIN = 0.9
# Shorter prefixes say nothing about what they mean.
PREFIX_MIN = 16
# A generic function of which so many forms ran comes in all its forms, if they take no more bytes than this.
FORMS_MIN, FORMS_BYTES_MAX = 4, 64 << 10
# An agent is at rest so many seconds after its start under valgrind, and runs all that it then does within so many more.
STARTED_SECS, AT_REST_SECS = 25, 80
HEAD = """/* Functions that an agent or a store runs at rest and with some lines, side by side: only what is used then is in memory.
   Written by benches/agent/order.py, which says how; not by hand. What is missing here costs memory and nothing else. */
SECTIONS
{
  .text.used :
  {
"""
GROUP = """    /* {} */
    *(
{}    )
"""
TAIL = """  }
}
INSERT BEFORE .text;
"""


def symbols(binary):
    """Functions as (bytes, name)."""
    found = []
    for line in subprocess.run(["nm", "-S", binary], check=True, capture_output=True, text=True).stdout.splitlines():
        parts = line.split()
        if len(parts) == 4 and parts[2] in "tTwW":
            found.append((int(parts[1], 16), parts[3]))
    return found


def executed(profile):
    """Names of the functions that a profile of callgrind has, those of libraries among them, and of which program it is."""
    names, found, command = {}, set(), ""
    for line in open(profile):
        if line.startswith("cmd:"):
            command = line
        named = re.match(r"c?fn=\((\d+)\)(?: (.*))?", line)
        if named and named[2]:
            names[named[1]] = named[2].strip()
        if line.startswith("fn="):
            found.add(names[named[1]])
    return found, "agent" if " agent " in command else "store"


def normal(name):
    """The name without what each build changes."""
    return name.split(".llvm.")[0]


def plain(name):
    """The name without its hash, too."""
    return re.sub(r"17h[0-9a-f]{16}E$", "17h*E", normal(name))


class Names:
    """A tree of letters over names, with the bytes of all code below a node and of that which ran."""

    def __init__(self):
        self.below, self.all, self.ran, self.is_end = {}, 0, 0, False

    def add(self, name, size, has_run):
        node = self
        for letter in [*name, None]:
            node.all += size
            node.ran += size * has_run
            if letter:
                node = node.below.setdefault(letter, Names())
        node.is_end |= has_run

    def patterns(self, prefix=""):
        if not self.ran:
            return
        if len(prefix) >= PREFIX_MIN and self.ran >= SHARE_MIN * self.all:
            yield prefix + "*"
            return
        if self.is_end:
            # What follows the hash differs from build to build.
            yield prefix + "*" if re.search(r"17h([0-9a-f]{16}|\*)E$", prefix) else prefix
        for letter, node in sorted(self.below.items()):
            yield from node.patterns(prefix + letter)


def split(place):
    """Has the profiles of a store and its agent begin anew when the agent has started, and again before it stops."""
    while len(list(place.glob("*.profile"))) < 2:
        time.sleep(0.1)
    for wait in [STARTED_SECS, AT_REST_SECS]:
        time.sleep(wait)
        told = subprocess.DEVNULL
        subprocess.run(["callgrind_control", "--dump"], check=True, stdout=told, stderr=told)


def profiles(binary, folder, with_docker):
    """Runs the binary as cost.py does, under valgrind. Yields the names of functions, of which role, and whether it was at rest."""
    wrapper = folder / "logyard"
    for part in [cost.latency, cost.idle] if with_docker else [cost.latency]:
        place = folder / part.__name__
        place.mkdir()
        wrapper.write_text(
            f"#!/bin/sh\nexec valgrind --tool=callgrind --demangle=no --callgrind-out-file={place}/%p.profile {binary} \"$@\"\n"
        )
        wrapper.chmod(0o755)
        # The other part is too short to be split: without containers what an agent runs to start counts as at rest.
        is_split = part is cost.idle
        splitting = threading.Thread(target=split, args=[place], daemon=True)
        if is_split:
            splitting.start()
        # An idle agent is watched from half a minute on.
        part(str(wrapper), place, AT_REST_SECS if is_split else 5)
        if is_split:
            splitting.join()
        for profile in place.glob("*.profile*"):
            yield (*executed(profile), profile.suffix == ".2" or not with_docker)


def small_forms(known, ran):
    """All forms of the generic functions of which several ran and that are small."""
    families = collections.defaultdict(list)
    for size, name in known:
        families[plain(name)].append((size, name))
    for family in families.values():
        if sum(name in ran for _, name in family) >= FORMS_MIN and sum(size for size, _ in family) <= FORMS_BYTES_MAX:
            yield from (name for _, name in family)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("--without-docker", action="store_true")
    chosen = parser.parse_args()
    known = symbols(chosen.binary)
    at_rest, started, ran = set(), set(), set()
    with tempfile.TemporaryDirectory(prefix="ly-order-") as folder:
        for names, role, is_at_rest in profiles(chosen.binary, pathlib.Path(folder), not chosen.without_docker):
            ran |= names
            if role == "agent":
                (at_rest if is_at_rest else started).update(names)
    # One call a letter, and names of generic functions are long.
    sys.setrecursionlimit(100_000)
    forms = collections.Counter(plain(name) for name in {normal(name) for _, name in known})
    ran &= {name for _, name in known}
    groups = [
        ("What an agent runs at rest.", at_rest & ran),
        ("What an agent runs besides.", started & ran),
        ("Small generic functions in all their forms.", set(small_forms(known, ran))),
        ("What an agent and a store run with some lines.", ran),
    ]
    text, before = HEAD, set()
    for title, wanted in groups:
        names = Names()
        for size, name in known:
            # What stands in a group before is taken from there, wherever else it is named.
            names.add(plain(name) if forms[plain(name)] == 1 else normal(name), size, name in wanted and name not in before)
        patterns = list(names.patterns())
        text += GROUP.format(title, "".join(f"      .text.{pattern}\n" for pattern in patterns))
        size = sum(size for size, name in known if name in wanted - before)
        before |= wanted
        print(f"{title} {len(wanted)} of {len(known)} functions, {size / 1e6:.1f} MB, in {len(patterns)} patterns")
    ORDER.write_text(text + TAIL)


if __name__ == "__main__":
    main()
