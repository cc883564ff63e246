#!/usr/bin/env python3
"""Prints the tables of RESULTS.md from a result of the side-by-side measure.

    benches/side_by_side/table.py RESULT.json > tables.md

RESULT.json is what `measure.py run --corpus medium --targets logyard.toml --out RESULT` writes. The peers' figures (peers.json) were
measured by the same script on another day. Machines differ from day to day, so every time of ours is multiplied by how
much faster this machine was, before it is compared: the geometric mean over five limits (zstd, and ripgrep behind it) that
each run takes over the same lines. ripgrep alone is left out: it takes 0.03 to 0.1 s, twice as long in one run as in the next.
Sizes are compared as they are.
"""

import json
import math
import pathlib
import sys

PEERS = json.loads(pathlib.Path(__file__).with_name("peers.json").read_text())
VICTORIA = ["victorialogs", "victorialogs-fields"]


def number(value):
    """Three digits that count."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value else "0"


def ratio(value, goal=None):
    """A ratio, in bold if it misses the goal."""
    text = f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return f"**{text}**" if goal is not None and value > goal else text


def main():
    result = json.load(open(sys.argv[1]))
    ours, limits = result["rounds"][0]["logyard"], result["limits"]
    shares = [PEERS["limits"][name] / limits[name]["cpu"] for name in PEERS["limits"]]
    speed = math.exp(sum(math.log(share) for share in shares) / len(shares))
    million = result["corpus"]["lines"] / 1e6
    raw = result["corpus"]["raw_bytes"]
    figures, queries = PEERS["figures"], ours["queries"]

    print(f"Corpus of {million:.0f} million lines, {raw / 1e6:.0f} MB; {result['cores']} cores ({result['cpu']}), {result['when']}.")
    print(f"This machine was {speed:.2f} times as fast as the peers' ({', '.join(f'{n} {s:.2f}' for n, s in zip(PEERS['limits'], shares))}).\n")

    def row(work, value, unit, key, goals, scale=speed):
        peers = figures[key]
        against_loki = value * scale / peers["loki"]
        against_victoria = value * scale / min(peers[name] for name in VICTORIA)
        print(f"| {work} | {number(value)} {unit} | {ratio(against_loki, goals[0])} | {goals[0]:.3g} | {ratio(against_victoria, goals[1])} | {goals[1]:.3g} |")

    ack = ours["ingest"]["cpu"] / million
    settled = ack + ours["settle"]["cpu"] / million
    top = ours["disk_end"]["top"]
    stored = sum(part["allocated"] for name, part in top.items() if name != "ballast")
    print("| Work | Measured | to Loki | goal | to VictoriaLogs | goal |\n|---|---|---|---|---|---|")
    row("processor time until acknowledged, s per million lines", ack, "s", "cpu_ack", (1 / 8, 1 / 6))
    row("the same with compaction", settled, "s", "cpu_settled", (0.4, 0.5))
    row("disk with all indexes, % of the text", 100 * stored / raw, "%", "disk_percent", (0.55, 0.7), 1)
    row("most memory while ingesting", ours["ingest"]["peak_rss"] / 1e6, "MB", "peak_mb", (0.3, 0.35), 1)
    row("memory at rest after a restart", ours["idle"]["rss"] / 1e6, "MB", "idle_mb", (25 / 132, 25 / 14.9), 1)
    row("restart until ready", ours["restart_s"], "s", "restart_s", (0.02, 2.5))

    goals = {
        "recent_one": (0.25, 0.05), "recent_all": (0.25, 0.05), "needle_rare": (0.01, None), "needle_absent": (0.01, None),
        "error_count": (0.05, 0.3), "regex_count": (0.1, 0.04), "icase_count": (0.4, 0.15), "json_status": (0.05, 1),
        "volume_level": (0.01, 0.5), "error_by_container": (0.05, 0.5),
    }
    print("\n| Query | p50, processor | answer | to Loki: p50, processor | goal | to VictoriaLogs: p50, processor | goal | cold: p50 | to VictoriaLogs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, peers in PEERS["queries"].items():
        if name not in queries:
            continue
        found = queries[name]
        if "p50_ms" not in found:
            continue
        times = (found["p50_ms"], found["cpu_ms"])
        goal = goals.get(name, (1, 1))
        loki = [time * speed / peer for time, peer in zip(times, peers["loki"])] if peers["loki"] else None
        both = [peers[key] for key in VICTORIA if peers[key]]
        victoria = [time * speed / min(peer[at] for peer in both) for at, time in enumerate(times)] if both else None
        shown = lambda ratios, goal: ", ".join(ratio(one, goal or 1) for one in ratios) if ratios else "–"
        cold, cold_peers = found.get("cold_ms"), PEERS["cold"].get(name, {})
        cold_both = [cold_peers[key][0] for key in VICTORIA if cold_peers.get(key)]
        cold_ratio = ratio(cold * speed / min(cold_both), 1) if cold and cold_both else "–"
        print(
            f"| `{name}` {peers['title']} | {number(times[0])}, {number(times[1])} ms | {found['verdict']} | "
            f"{shown(loki, goal[0])} | {goal[0] if loki else '–'} | {shown(victoria, goal[1])} | {(goal[1] or 1) if victoria else '–'} | "
            f"{number(cold) + ' ms' if cold else '–'} | {cold_ratio} |"
        )


if __name__ == "__main__":
    main()
