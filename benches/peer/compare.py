#!/usr/bin/env python3
"""fcdd and PyTorch side by side: OUT.json with every timing and OUT.md with the tables.

    compare.py OUT [--rounds N] [--threads N]       # runs both on the CPU; needs fcdd on the PATH, and torch
    compare.py OUT --files FILE.json …              # from the output of `fcdd bench --json` and gpu.py on a GPU in one run
               [--refuted FILE.json …] [--unproven FILE.json …]    # those of fcdd that proved wrong, or that nothing proved right
               [--failed NAME …]                                   # what else was to be timed

On the CPU each round runs fcdd and every PyTorch mode once over all nets and tasks, so that a drift of the machine's speed affects all alike.
Rates are images/s, the median over the rounds or repeats, minimum and maximum in brackets.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

MODES = ["eager", "channels_last", "compile", "bf16", "bf16_compile"]


def report(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def rounds(count, threads):
    """Reports of fcdd and of every PyTorch mode, round after round."""
    peer = [sys.executable, str(Path(__file__).with_name("peer.py")), "--threads", str(threads)]
    every = []
    for number in range(count):
        found = [report(["fcdd", "--threads", str(threads), "bench", "--device", "cpu", "--json"])]
        found += [report([*peer, "--mode", mode]) for mode in MODES]
        every += [{"round": number, **one} for one in found]
        print(f"round {number + 1} of {count}", file=sys.stderr)
    return every


def case(timing):
    return timing["net"], timing["task"], timing["batch"], timing["side"]


def title(key):
    net, task, batch, side = key
    return f"{net} {task} {batch}×{side}²"


def is_ours(timing):
    return timing["mode"].startswith("fcdd")


def is_like_the_peers(timing):
    """Whether a timing of fcdd uses a fixed batch, as gpu.py does, and as both do on the CPU."""
    return timing.get("how", "graph, fixed batch") == "graph, fixed batch"


def is_unchecked(timing):
    """Whether a timing is of a net that check.py did not compare with fcdd's."""
    return timing.get("checked") is False


def is_refuted(timing):
    """Whether a timing is of a mode that proved wrong after it was timed."""
    return timing.get("refuted", False)


def is_unproven(timing):
    """Whether a timing is of a mode of fcdd of which it is not known whether it computes right."""
    return timing.get("unproven", False)


MARKS = {"unchecked": is_unchecked, "refuted": is_refuted, "unproven": is_unproven}


def mode_of(timing, with_batch=True):
    """The name of a timing's mode in all tables, with its marks; with or without how its batch was run."""
    name = timing["mode"] if with_batch else timing["mode"].split(",")[0]
    return ", ".join([name, *(mark for mark, has in MARKS.items() if has(timing))])


def rates(timings, of_rounds):
    """By case and mode: images/s of each round, or of each repeat of a single one."""
    found = {}
    for t in timings:
        each = [t["images_per_second"]] if of_rounds else [t["batch"] / seconds for seconds in t["seconds"]]
        found.setdefault(case(t), {}).setdefault(mode_of(t), []).extend(each)
    return found


def precision(mode):
    return "bf16" if " bf16" in mode else "f32"


def speeds(timings, of_rounds):
    """A line per case and mode, with fcdd's time as a multiple of this mode's. fcdd's time is that of its fastest mode with a fixed batch in the
    same precision that did not prove wrong, or in f32 where it was not timed in bf16."""
    like = {mode_of(t) for t in timings if is_ours(t) and is_like_the_peers(t) and not is_refuted(t)}
    lines = ["| case | mode | images/s | time of fcdd / of this |", "| --- | --- | --- | --- |"]
    for key, by_mode in rates(timings, of_rounds).items():
        middle = {mode: statistics.median(values) for mode, values in by_mode.items()}
        ours = {}
        for mode, value in middle.items():
            if mode in like:
                ours[precision(mode)] = max(value, ours.get(precision(mode), 0))
        for mode, values in sorted(by_mode.items(), key=lambda item: -middle[item[0]]):
            of = ours.get(precision(mode), ours.get("f32"))
            ratio = f"**{middle[mode] / of:.2f}**" if of and not mode.startswith("fcdd") else ""
            spread = f"{middle[mode]:.1f} ({min(values):.1f}–{max(values):.1f})"
            lines.append(f"| {title(key)} | {mode} | {spread} | {ratio} |")
    return lines


# How a batch was run, if its report does not say.
UNSAID = "not said"


def best(timings, like=None):
    """The fastest mode: its milliseconds, its name and how it was run. Only modes that were run in the way `like`, if there are any."""
    found = {}
    for t in timings:
        found.setdefault((mode_of(t), t.get("how") or UNSAID), []).extend(t["seconds"])
    alike = {key: seconds for key, seconds in found.items() if key[1] == like}
    medians = [(1e3 * statistics.median(seconds), *key) for key, seconds in (alike or found).items()]
    return min(medians, default=None)


def glance(timings):
    """A line per case and precision: the fastest mode of each, and whether both were run in the same way."""
    lines = ["| case | fcdd, ms | PyTorch, ms | time of fcdd / PyTorch | run alike |", "| --- " * 5 + "|"]
    for key, format in dict.fromkeys((case(t), precision(t["mode"])) for t in timings):
        of = [t for t in timings if (case(t), precision(t["mode"])) == (key, format)]
        theirs = best(t for t in of if not is_ours(t))
        ours = best([t for t in of if is_ours(t) and not is_refuted(t)], theirs and theirs[2])
        cells = [f"{one[0]:.3f} ({one[1]})" if one else "–" for one in (ours, theirs)]
        if ours and theirs:
            ways = list(dict.fromkeys([ours[2], theirs[2]]))
            alike = "unknown" if UNSAID in ways else "yes" if len(ways) == 1 else "no"
            cells += [f"**{ours[0] / theirs[0]:.2f}**", f"{alike}: {' / '.join(ways)}"]
        lines.append("| " + " | ".join([f"{title(key)} {format}", *cells] + ["–"] * (4 - len(cells))) + " |")
    return lines


def remarks(timings):
    """Notes on how PyTorch was timed that are not in the tables."""
    lines = []
    for steps in sorted({t["steps_per_repeat"] for t in timings if "steps_per_repeat" in t}):
        lines.append(f"A repeat of PyTorch's is the mean of {steps} steps, one of fcdd's is a single step; times are medians over repeats.")
    if any(is_unchecked(t) for t in timings):
        lines.append("Unchecked: no sound check compared PyTorch's net with fcdd's, so they may differ.")
    if any(is_refuted(t) for t in timings):
        lines.append("Refuted: a test, check or timing with these switches failed after it was timed. They do not count as fcdd's time.")
    if any(is_unproven(t) for t in timings):
        lines.append("Unproven: tests or checks of what was timed gave no result, so it may compute something else.")
    return [line for one in lines for line in (one, "")]


def floor(layers, bandwidth, rate):
    """The least possible milliseconds of all steps: of each the longer of its operations and its bytes at these rates."""
    return 1e3 * sum(max(c["flops"] / rate, c["bytes"] / bandwidth) for c in layers)


def library_peaks(reports):
    """The rates of PyTorch's copy and matrix products; None if it did not run."""
    return next((r["peaks"] for r in reports if "flops_per_second_f32" in (r.get("peaks") or {})), None)


def own_peaks(reports, format):
    """The highest rates of fcdd's own copy and matrix product in a precision, over all switches, so that all modes have the same floor."""
    peaks = [r["peaks"] for r in reports if r.get("peaks") and any(is_ours(t) and precision(t["mode"]) == format for t in r["timings"])]
    return [max(p[name] for p in peaks) for name in ("bytes_per_second", "flops_per_second")]


def floors(reports):
    """A line per case of fcdd: the time of a whole step beside its floors, at fcdd's own peak rates and at those of PyTorch's libraries."""
    theirs = library_peaks(reports)
    head = "| case | mode | ms | floor at own peaks, ms | reached | floor at the libraries' peaks, ms | reached |"
    lines = [head, "| --- " * 7 + "|"]
    for one in reports:
        for t in filter(is_ours, one["timings"]):
            if not t.get("total", {}).get("floor"):
                continue
            milliseconds = 1e3 * statistics.median(t["seconds"])
            cells = [title(case(t)), mode_of(t), f"{milliseconds:.3f}"]
            own = [floor(t["layers"], *own_peaks(reports, precision(t["mode"])))]
            rate = f"flops_per_second_{precision(t['mode'])}"
            own += [floor(t["layers"], theirs["bytes_per_second"], theirs[rate])] if theirs else []
            for value in own:
                cells += [f"{value:.3f}", f"{100 * value / milliseconds:.1f} %"]
            lines.append("| " + " | ".join(cells + ["–"] * (7 - len(cells))) + " |")
    return lines


def kinds(reports):
    """fcdd's time by kind of step: median over the rounds, and the ratio of floor to time."""
    found = {}
    for t in filter(is_ours, (t for one in reports for t in one["timings"] if "error" not in t)):
        for kind in t.get("kinds", []):
            if kind["seconds"]:
                # Single steps are timed once, whatever the kind of batch.
                key, of = (*case(t), mode_of(t, with_batch=False)), [c for c in t["layers"] if c["kind"] == kind["kind"]]
                least = floor(of, *own_peaks(reports, precision(t["mode"]))) / 1e3
                found.setdefault(key, {}).setdefault(kind["kind"], []).append((kind["seconds"], least))
    lines = []
    for (*key, mode), by_kind in found.items():
        medians = {kind: [statistics.median(values) for values in zip(*pairs)] for kind, pairs in by_kind.items()}
        total = sum(seconds for seconds, _ in medians.values())
        parts = sorted(medians.items(), key=lambda item: -item[1][0])
        shares = [f"{kind} {100 * s / total:.0f} % ({100 * f / s:.0f} %)" for kind, (s, f) in parts if s / total >= 0.01]
        lines.append(f"- {title(key)}, {mode}: " + ", ".join(shares))
    return lines


def layers(reports):
    """A table per case and precision of fcdd with every step by itself: its floor, at the libraries' peak rates or else fcdd's own, and the
    milliseconds of each mode with the ratio of floor to time."""
    theirs, found = library_peaks(reports), {}
    for one in reports:
        for t in filter(is_ours, one["timings"]):
            if t.get("layers") and all(c.get("seconds") for c in t["layers"]):
                mode = mode_of(t, with_batch=False).removeprefix("fcdd ")
                found.setdefault((*case(t), precision(t["mode"])), {})[mode] = t["layers"]
    lines = []
    for (*key, format), by_mode in found.items():
        head = ["step", "layer", "floor, ms", *by_mode]
        lines += ["", f"{title(key)}:", "", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
        for steps in zip(*by_mode.values()):
            of = [theirs["bytes_per_second"], theirs[f"flops_per_second_{format}"]] if theirs else own_peaks(reports, format)
            least = floor(steps[:1], *of)
            times = [1e3 * c["seconds"] for c in steps]
            cells = [steps[0]["kind"], steps[0]["shape"], f"{least:.4f}", *(f"{t:.4f} ({100 * least / t:.0f} %)" for t in times)]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def peaks(reports):
    """A line per distinct set of clocks or peaks that the reports state."""
    lines = []
    for one in reports:
        for name in ["clocks_before", "clocks_after", "peaks"]:
            if one.get(name):
                values = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in one[name].items()]
                lines.append(f"- {one['source']} {name}: " + ", ".join(values))
    return lines


def tables(reports, of_files):
    """All tables of these reports, line by line."""
    every = [timing for one in reports for timing in one["timings"]]
    failed = [timing for timing in every if "error" in timing]
    timings = [timing for timing in every if "error" not in timing]
    lines = [*glance(timings), "", *remarks(timings), *speeds(timings, of_rounds=not of_files)]
    if of_files:
        lines += ["", "Floors of whole steps, the sum over their kernels' (operations of convolutions, bytes of each operand once):", ""]
        lines += floors(reports)
        lines += ["", "Peaks and clocks, as measured and asked for in this run:", "", *peaks(reports)]
    lines += ["", "What the time of fcdd goes to, by kind of step timed alone (in brackets: floor / time):", "", *kinds(reports)]
    if of_files:
        lines += ["", "Steps timed alone, milliseconds (floor / time):", *layers(reports)]
    lines += [f"- cut short {one['cut_short']}" for one in reports if "cut_short" in one]
    if failed:
        lines += ["", "What did not run:", ""] + [f"- {title(case(t))}, {mode_of(t)}: {t['error']}" for t in failed]
    return lines


def readable(files, marked):
    """The reports in these files, and why others are left out: each must give tables by itself, so that none can spoil those of all. `marked`: by
    mark the files whose timings get it."""
    reports, left_out = [], []
    for file in files:
        try:
            one = {"source": Path(file).stem, **json.loads(Path(file).read_text())}
            for timing in one["timings"]:
                timing |= {mark: True for mark, of in marked.items() if file in of}
            tables([one], of_files=True)
            reports.append(one)
        except Exception as error:
            left_out.append(f"left out: {Path(file).name}, which is damaged or incomplete ({type(error).__name__}: {error})")
    return reports, left_out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--files", nargs="+", metavar="FILE", help="tables of these instead of running anything")
    parser.add_argument("--refuted", nargs="*", default=[], metavar="FILE", help="those of the files with modes that proved wrong later")
    parser.add_argument("--unproven", nargs="*", default=[], metavar="FILE", help="those with modes of which nothing is known")
    parser.add_argument("--failed", nargs="*", default=[], metavar="NAME", help="what was to be timed and failed")
    args = parser.parse_args()
    if args.files:
        reports, left_out = readable(args.files, {"refuted": args.refuted, "unproven": args.unproven})
        left_out += [f"left out: {name}, which failed" for name in args.failed]
        lines = ["Timings of one run on one machine; images/s, median (least–most) over the repeats.", ""]
        lines += [line for one in left_out for line in (one, "")]
    else:
        reports = rounds(args.rounds, args.threads)
        lines = [f"{processor()}, {args.threads} threads, {args.rounds} rounds; images/s, median (least–most).", ""]
    lines += tables(reports, of_files=bool(args.files))
    Path(args.out + ".json").write_text(json.dumps(reports, indent=1) + "\n")
    Path(args.out + ".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
