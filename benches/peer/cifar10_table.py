#!/usr/bin/env python3
"""How long CIFAR-10's table takes (10 classes, 5 seeds, 600 epochs, FCDD_CNN32_LW3K), from a part of it.

    cifar10_table.py FCDD OUT.json [--jobs N …] [--epochs SHORT LONG] [--smoke]

Runs `fcdd sweep` twice per number of jobs: CLASSES classes with one seed each, for SHORT and for LONG epochs. The difference is what
epochs cost; what is left of the short sweep is what a run costs besides: reading, testing 10,000 images, the report. The table is fifty of
these and 30,000 epochs. Pictures are random bytes in the layout and number of CIFAR-10 and, as outliers, CIFAR-100: no step's time depends
on them. FCDD is the program and how it is started, such as `fcdd` or `scripts/with-standin fcdd`.
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

RUNS, EPOCHS, CLASSES = 50, 600, 8


def records(path, count, labels):
    """Records of CIFAR's binary version: one byte per label, then 32 × 32 red, green and blue bytes."""
    with open(path, "wb") as file:
        for i in range(count):
            file.write(bytes(i % n for n in labels) + os.urandom(3072))


def sets(folder, scale):
    """CIFAR-10 and CIFAR-100 of random pictures, one in `scale` of their numbers."""
    ten, hundred = folder / "cifar10", folder / "cifar100"
    ten.mkdir()
    hundred.mkdir()
    for i in range(1, 6):
        records(ten / f"data_batch_{i}.bin", 10_000 // scale, [10])
    records(ten / "test_batch.bin", 10_000 // scale, [10])
    records(hundred / "train.bin", 50_000 // scale, [20, 100])
    return ["--data", str(ten), "--outliers", f"cifar100:{hundred}"]


def sweep(command, epochs, jobs, data, out, net, classes):
    """Seconds of one sweep."""
    args = ["sweep", "cifar10", *data, "--net", net, "--classes", ",".join(map(str, range(classes))), "--seeds", "1"]
    args += ["--epochs", str(epochs), "--jobs", str(jobs), "--device", "cuda", "--precision", "bf16", "--out", str(out)]
    started = time.perf_counter()
    subprocess.run([*command, *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fcdd", type=shlex.split)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--epochs", type=int, nargs=2, default=[5, 30])
    parser.add_argument("--smoke", action="store_true", help="a small net on few pictures: shows that this runs")
    args = parser.parse_args()
    net, scale, classes = ("FCDD_CNN32_S", 500, 2) if args.smoke else ("FCDD_CNN32_LW3K", 1, CLASSES)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = sets(folder, scale)
        for jobs in args.jobs:
            short, long = (sweep(args.fcdd, e, jobs, data, folder / f"{jobs}_{e}", net, classes) for e in args.epochs)
            epoch = (long - short) / (args.epochs[1] - args.epochs[0]) / classes
            besides = short / classes - args.epochs[0] * epoch
            table = RUNS * (besides + EPOCHS * epoch)
            found.append({
                "net": net, "jobs": jobs, "runs": classes, "epochs": args.epochs, "seconds": [short, long],
                "seconds_per_epoch": epoch, "seconds_per_run_besides": besides, "minutes_of_the_table": table / 60,
            })  # fmt: skip
            args.out.write_text(json.dumps(found, indent=1) + "\n")  # what is cut short keeps what was found
            print(
                f"{jobs} at once: {1e3 * epoch:.2f} ms per epoch, {besides:.2f} s per run besides; the table extrapolated: "
                f"{table / 60:.1f} minutes"
            )


if __name__ == "__main__":
    sys.exit(main())
