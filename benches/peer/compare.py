#!/usr/bin/env python3
"""Our CPU path and PyTorch's, side by side in one run: compare.py OUT [--rounds N] [--threads N]. Needs fcdd on the PATH and torch.

Each round runs fcdd and every PyTorch mode once over all nets and tasks, so that a drift of the machine hits all alike. Writes
OUT.json with every timing and OUT.md with the table: median images/s over the rounds, least and most in brackets.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

MODES = ["eager", "channels_last", "compile"]


def timings(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["timings"]


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    peer = [sys.executable, str(Path(__file__).with_name("peer.py")), "--threads", str(args.threads)]
    rates, modes, kinds, every = {}, [], {}, []
    for number in range(args.rounds):
        found = timings(["fcdd", "--threads", str(args.threads), "bench", "--json"])
        for mode in MODES:
            found += timings([*peer, "--mode", mode])
        for timing in found:
            every.append({"round": number, **timing})
            case = (timing["net"], timing["task"], timing["batch"], timing["side"])
            rates.setdefault(case, {}).setdefault(timing["mode"], []).append(timing["images_per_second"])
            if timing["mode"] not in modes:
                modes.append(timing["mode"])
            for kind in timing.get("kinds", []):
                kinds.setdefault(case, {}).setdefault(kind["kind"], []).append(kind["seconds"])
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)

    ours, theirs = modes[0], modes[1:]
    lines = [f"{processor()}, {args.threads} threads, {args.rounds} rounds; images/s, median (least–most).", ""]
    lines += ["| net | task | " + " | ".join(modes) + " | time of fcdd / best of PyTorch |", "| --- " * (len(modes) + 3) + "|"]
    for case, by_mode in rates.items():
        middle = {mode: statistics.median(by_mode[mode]) for mode in modes}
        cells = [f"{middle[m]:.1f} ({min(by_mode[m]):.1f}–{max(by_mode[m]):.1f})" for m in modes]
        ratio = max(middle[mode] for mode in theirs) / middle[ours]
        net, task, batch, side = case
        lines.append(f"| {net} | {task} {batch}×{side}² | " + " | ".join(cells) + f" | **{ratio:.2f}** |")
    lines += ["", "What the time of fcdd goes to, by kind of step (median over the rounds):", ""]
    for (net, task, _, _), by_kind in kinds.items():
        medians = {kind: statistics.median(seconds) for kind, seconds in by_kind.items()}
        total = sum(medians.values())
        parts = sorted(medians.items(), key=lambda item: -item[1])
        shares = [f"{kind} {100 * s / total:.0f} %" for kind, s in parts if s / total >= 0.01]
        lines.append(f"- {net} {task}: " + ", ".join(shares))
    Path(args.out + ".json").write_text(json.dumps(every, indent=1) + "\n")
    Path(args.out + ".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
