#!/usr/bin/env python3
"""Trains fcdd on folders in several ways and over several seeds, and tells what each detects.

    pip install numpy
    python benches/peer/detection.py OUT --program fcdd --data tiles=DIR board=DIR --way default= cutpaste="--noise cutpaste" [--seeds 0 1 2]
                                     [--report tiles=DIR board=DIR]

DIR is a folder in MVTec-AD's layout, such as a half that benches/peer/halves.py made; a WAY has a name and the flags of `fcdd train`. Runs lie in
OUT/SET-WAY-SEED; those that are finished are not trained again. With --report the same models are tested on another half, for a table of its
own. A table, in Markdown, has for each set and way the mean over the seeds and its standard error: the figures of `fcdd evaluate`, the AUROC of
images that each way to score a map would have given (`maps.npy`: of tiled or letterboxed images about, since it keeps the highest values of parts), and
at a false positive rate of 1 % among the good test images the share of defects that is found; then the AUROC of each kind of defect by the
run's own score. Minutes are those of the processor in the whole call, over the number of cores: about those on a clock where nothing else runs.
"""

import argparse
import csv
import json
import math
import os
import resource
import subprocess
from pathlib import Path

import numpy as np

TOPS = {"mean": 1.0, "top 10 %": 0.1, "top 3 %": 0.03, "top 1 %": 0.01, "max": 0.0}


def auroc(scores, labels):
    """The area under the ROC curve; ties count half."""
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = int(labels.sum())
    return (ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def found(scores, labels):
    """The share of defects above the score that 1 % of the good images exceed."""
    good = np.sort(scores[~labels])
    return float((scores[labels] > good[math.ceil(0.99 * len(good)) - 1]).mean())


def figures(run, minutes):
    """What a finished run detects, by name, and the minutes that it took."""
    with open(run / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = np.array([float(row["score"]) for row in rows])
    labels, kinds = np.array([row["label"] == "1" for row in rows]), np.array([row["class"] for row in rows])
    evaluation = json.loads((run / "evaluation.json").read_text())
    values = {"image": auroc(scores, labels), "pixel": evaluation["pixel_auroc"], "PRO": evaluation["pro"]}
    values |= {"pointing": evaluation["pointing_game"], "found": found(scores, labels)}
    maps = -np.sort(-np.load(run / "maps.npy").reshape(len(rows), -1), axis=1)
    for name, share in TOPS.items():
        values[name] = auroc(maps[:, :max(1, round(share * maps.shape[1]))].mean(1), labels)
    values["minutes"] = minutes
    for kind in sorted(set(kinds[labels])):
        of = ~labels | (kinds == kind)
        values[kind] = auroc(scores[of], labels[of])
    return values


def processor_seconds():
    """What all calls so far took of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(program, words, log):
    """The minutes of all cores that a call takes, or took where it was done before."""
    done = log.with_suffix(".minutes")
    if not done.exists():
        subprocess.run(["rm", "-rf", str(log.with_suffix(""))], check=True)
        started = processor_seconds()
        with open(log, "w") as file:
            subprocess.run([program, *words, "--out", str(log.with_suffix("")), "--device", "cpu"], check=True, stdout=file, stderr=subprocess.STDOUT)
        done.write_text(str((processor_seconds() - started) / 60 / len(os.sched_getaffinity(0))))
    return float(done.read_text())


def table(title, ways):
    """Prints the figures of each way's runs: mean and standard error."""
    columns = list(next(iter(ways.values()))[0])
    print(f"\n| {title} | " + " | ".join(columns) + " |\n| --- " + "| ---: " * len(columns) + "|")
    for way, runs in ways.items():
        cells = []
        for column in columns:
            values = np.array([run[column] for run in runs])
            error = f" ± {values.std(ddof=1) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}" if column == "minutes" else f"{values.mean():.3f}{error}")
        print(f"| {way} | " + " | ".join(cells) + " |", flush=True)


def named(text):
    name, _, value = text.partition("=")
    return name, value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", default="fcdd")
    parser.add_argument("--data", type=named, nargs="+", required=True)
    parser.add_argument("--way", type=named, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--report", type=named, nargs="+", default=[])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, data in args.data:
        chosen, reported = {}, {}
        for way, flags in args.way:
            for seed in args.seeds:
                run = args.out / f"{name}-{way}-{seed}"
                minutes = call(args.program, ["train", data, "--seed", str(seed), *flags.split()], run.with_name(run.name + ".log"))
                chosen.setdefault(way, []).append(figures(run, minutes))
                if other := dict(args.report).get(name):
                    tested = args.out / f"{run.name}-report"
                    call(args.program, ["evaluate", str(run), "--data", other], tested.with_name(tested.name + ".log"))
                    reported.setdefault(way, []).append(figures(tested, minutes))
        table(name, chosen)
        if reported:
            table(f"{name}, report", reported)


if __name__ == "__main__":
    main()
