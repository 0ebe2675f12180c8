#!/usr/bin/env python3
"""Trains fcdd on folders in several ways and over several seeds, and tells what each detects.

    pip install numpy
    python benches/peer/detection.py OUT --program fcdd --data tiles=DIR board=DIR --way default= cutpaste="--noise cutpaste" [--seeds 0 1 2]

DIR is a folder in MVTec-AD's layout, such as a half that benches/peer/halves.py made; a WAY has a name and the flags of `fcdd train`. Runs lie in
OUT/SET-WAY-SEED; those that are finished are not trained again. The table, in Markdown, has for each set and way the mean over the seeds and its
standard error: the figures of `fcdd evaluate`, the AUROC of images that each way to score a map would have given (`maps.npy`), and at a false
positive rate of 1 % among the good test images the share of defects that is found; then the AUROC of each kind of defect by the run's own score.
"""

import argparse
import csv
import json
import math
import subprocess
import time
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


def figures(run):
    """What a finished run detects, by name."""
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
    values["minutes"] = float((run / "minutes").read_text())
    for kind in sorted(set(kinds[labels])):
        of = ~labels | (kinds == kind)
        values[kind] = auroc(scores[of], labels[of])
    return values


def train(program, data, flags, seed, run):
    """Trains unless there is a finished run."""
    if (run / "minutes").exists():
        return
    subprocess.run(["rm", "-rf", str(run)], check=True)
    started = time.time()
    command = [program, "train", str(data), "--out", str(run), "--seed", str(seed), "--device", "cpu", *flags.split()]
    with open(run.with_suffix(".log"), "w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    (run / "minutes").write_text(str((time.time() - started) / 60))


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
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, data in args.data:
        table = {}
        for way, flags in args.way:
            runs = [args.out / f"{name}-{way}-{seed}" for seed in args.seeds]
            for seed, run in zip(args.seeds, runs):
                train(args.program, data, flags, seed, run)
            table[way] = [figures(run) for run in runs]
        columns = list(next(iter(table.values()))[0])
        print(f"\n| {name} | " + " | ".join(columns) + " |\n| --- " * 1 + "| ---: " * len(columns) + "|")
        for way, runs in table.items():
            cells = []
            for column in columns:
                values = np.array([run[column] for run in runs])
                error = f" ± {values.std(ddof=1) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.1f}" if column == "minutes" else f"{values.mean():.3f}{error}")
            print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
