#!/usr/bin/env python3
"""Extrapolates how long CIFAR-10's table takes (10 classes, 5 seeds, 600 epochs, FCDD_CNN32_LW3K) from short runs.

    cifar10_table.py FCDD OUT.json [--jobs N …] [--epochs SHORT LONG] [--smoke]

Runs `fcdd sweep` twice per number of jobs N: N classes with one seed each, all at once, for SHORT and for LONG epochs. The difference is the
time of the epochs; the rest of the short sweep is the fixed time of a run: reading, testing 10,000 images, the report. The table is fifty
runs with 30,000 epochs in all. An epoch has 25 steps, about 40 ms at 1.6 ms a step, and all epochs take the same time. The 30 epochs between
SHORT and LONG take about 1.2 s; start-up times vary by a tenth of a second, which is 8 % of that with one job and 2 % with four. Images are
random bytes in the layout and number of CIFAR-10 and, as outliers, CIFAR-100: no step's time depends on them. FCDD is the command that
starts the program, such as `fcdd` or `scripts/with-standin fcdd`.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLASSES, RUNS, EPOCHS = 10, 50, 600


def records(path, count, labels):
    """Records of CIFAR's binary version: one byte per label, then 32 × 32 red, green and blue bytes."""
    with open(path, "wb") as file:
        for i in range(count):
            file.write(bytes(i % n for n in labels) + os.urandom(3072))


def sets(folder, scale):
    """CIFAR-10 and CIFAR-100 of random images, one in `scale` of their numbers."""
    ten, hundred = folder / "cifar10", folder / "cifar100"
    ten.mkdir()
    hundred.mkdir()
    for i in range(1, 6):
        records(ten / f"data_batch_{i}.bin", 10_000 // scale, [10])
    records(ten / "test_batch.bin", 10_000 // scale, [10])
    records(hundred / "train.bin", 50_000 // scale, [20, 100])
    return ["--data", str(ten), "--outliers", f"cifar100:{hundred}"]


def sweep(command, epochs, jobs, data, out, net):
    """Seconds of one sweep over as many classes as it runs at once."""
    args = ["sweep", "cifar10", *data, "--net", net, "--classes", ",".join(map(str, range(jobs))), "--seeds", "1"]
    args += ["--epochs", str(epochs), "--jobs", str(jobs), "--device", "cuda", "--precision", "bf16", "--out", str(out)]
    started = time.perf_counter()
    subprocess.run([*command, *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fcdd", type=shlex.split)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4], choices=range(1, CLASSES + 1), metavar="N")
    parser.add_argument("--epochs", type=int, nargs=2, default=[2, 32], metavar=("SHORT", "LONG"))
    parser.add_argument("--smoke", action="store_true", help="a small net on few images for few epochs: shows that this runs")
    args = parser.parse_args()
    net, scale = ("FCDD_CNN32_LW3K", 1)
    if args.smoke:
        net, scale, args.epochs = "FCDD_CNN32_S", 500, [1, 3]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = sets(folder, scale)
        for jobs in args.jobs:
            row = {"net": net, "jobs": jobs, "runs": jobs, "epochs": args.epochs, "seconds": []}
            found.append(row)
            for epochs in args.epochs:
                row["seconds"].append(sweep(args.fcdd, epochs, jobs, data, folder / f"{jobs}_{epochs}", net))
                args.out.write_text(json.dumps(found, indent=1) + "\n")  # now, so that an interrupted run keeps its results
                print(f"{jobs} at once, {epochs} epochs: {row['seconds'][-1]:.2f} s", flush=True)
            short, long = row["seconds"]
            epoch = (long - short) / (args.epochs[1] - args.epochs[0]) / jobs
            besides = short / jobs - args.epochs[0] * epoch
            minutes = RUNS * (besides + EPOCHS * epoch) / 60
            if min(epoch, besides) <= 0 and not args.smoke:  # of the smoke test's short sweeps this may be true
                sys.exit(f"{jobs} at once: start-up times vary more than the sweeps differ, so nothing can be extrapolated")
            row |= {"seconds_per_epoch": epoch, "seconds_per_run_besides": besides, "minutes_of_the_table": minutes}
            args.out.write_text(json.dumps(found, indent=1) + "\n")
            print(
                f"{jobs} at once: {1e3 * epoch:.2f} ms per epoch, {besides:.2f} s per run besides; the table extrapolated: "
                f"{minutes:.1f} minutes", flush=True
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
