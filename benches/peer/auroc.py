#!/usr/bin/env python3
"""Checks that training in bf16 is as accurate as in f32: Fashion-MNIST, bags against the other classes.

    auroc.py FCDD OUT.json --data DIR [--switches wgmma pdl] [--device cuda|cpu] [--seeds 0 1 2] [--epochs N]
    auroc.py 'scripts/with-standin fcdd' OUT.json --smoke          # shows that this runs, on a few random images

Both train FCDD_CNN28_W on the same images in the same order, from the same weights. Anomalies are training images of the other classes,
which the net learns in a few epochs. The switches are on for bf16, and off for f32 whatever the environment says. With `wgmma` the second
convolution, which has 97 % of the operations and 128 channels in and out, is computed by WGMMA forward and backward. Prints image AUROC and
seconds of each run; OUT.json is written again after each run. Exit code 1 if a run failed, if a switch that was asked for is not on, or if
the AUROC of bf16 is lower by more than LOSS. FCDD is the command that starts the program.
"""

import argparse
import gzip
import json
import os
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Switches by their word in the mode that `fcdd bench` prints, and their environment variables.
SWITCHES = {"wgmma": "FCDD_WGMMA", "pdl": "FCDD_PDL"}
PRECISIONS = ["f32", "bf16"]

# How much lower the mean image AUROC of bf16 may be: less than the difference between seeds, 0.012 after ten epochs of FCDD_CNN28 on the
# CPU, where bf16 was within 0.0002 of f32 with the same seed. After one epoch single runs differ by 0.02.
LOSS = 0.01


def images(folder, count):
    """Random images in Fashion-MNIST's files, `count` of each class."""
    for part in ("train", "t10k"):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4I", 0x803, 10 * count, 28, 28) + os.urandom(10 * count * 28 * 28))
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">2I", 0x801, 10 * count) + bytes(i % 10 for i in range(10 * count)))


def answer(command, switches, limit):
    """The JSON that fcdd prints with these switches on and no others, or what went wrong."""
    environment = {key: value for key, value in os.environ.items() if key not in SWITCHES.values()}
    environment |= {SWITCHES[switch]: "1" for switch in switches}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit, env=environment)
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"out of time after {limit:g} seconds"}
    except json.JSONDecodeError:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def not_on(args):
    """The switches that were asked for and that the device does not have: fcdd then falls back to other kernels without an error."""
    if not args.switches:
        return []
    command = [*args.fcdd, "bench", "FCDD_CNN28_W", "--task", "predict", "--precision", "bf16", "--repeats", "1", "--device", args.device]
    found = answer([*command, "--json"], args.switches, args.limit)
    if "error" in found:
        print(f"bench: {found['error']}")
        return args.switches
    return [switch for switch in args.switches if switch not in found["timings"][0]["mode"].split()]


def train(args, data, precision, seed, run):
    command = [*args.fcdd, "train", "fmnist", "--data", str(data), "--class", "8", "--net", "FCDD_CNN28_W", "--supervise", "other"]
    command += ["--precision", precision, "--seed", str(seed), "--epochs", str(args.epochs), "--device", args.device]
    command += ["--out", str(run), "--json"] + (["--batch", "4"] if args.smoke else [])
    started = time.perf_counter()
    found = answer(command, args.switches if precision == "bf16" else [], args.limit)
    row = {"precision": precision, "seed": seed, "epochs": args.epochs, "seconds": time.perf_counter() - started}
    return row | {key: found[key] for key in ("image_auroc", "loss", "error") if key in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fcdd", type=shlex.split)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--switches", choices=SWITCHES, nargs="*", default=[], help="on for bf16")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=float, default=60, help="seconds of one run")
    parser.add_argument("--smoke", action="store_true", help="two random images a class, one seed, one epoch")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if args.smoke:
            args.seeds, args.epochs, args.data, args.limit = [0], 1, folder, 600
            images(folder, 2)
        report = {"switches": args.switches, "not_on": not_on(args), "runs": []}
        for switch in args.switches:
            print(f"{switch} for bf16: {'NOT on' if switch in report['not_on'] else 'on'}")
        print("\n| precision | seed | image AUROC | loss | seconds |\n" + "| --- " * 5 + "|", flush=True)
        # Seed by seed, so that an interrupted run still has pairs to compare.
        for seed in args.seeds:
            for precision in PRECISIONS:
                row = train(args, args.data, precision, seed, folder / f"{precision}-{seed}")
                report["runs"].append(row)
                args.out.write_text(json.dumps(report, indent=1) + "\n")
                figures = f"{row['error']} | –" if "error" in row else f"{row['image_auroc']:.4f} | {row['loss']:.4f}"
                print(f"| {precision} | {seed} | {figures} | {row['seconds']:.1f} |", flush=True)
    if any("error" in row for row in report["runs"]):
        return 1
    means = {p: statistics.mean(row["image_auroc"] for row in report["runs"] if row["precision"] == p) for p in PRECISIONS}
    print("\nmean image AUROC: " + ", ".join(f"{precision} {mean:.4f}" for precision, mean in means.items()))
    is_worse = not args.smoke and means["bf16"] < means["f32"] - LOSS
    if is_worse:
        print(f"the mean image AUROC of bf16 is lower by more than {LOSS}")
    return int(is_worse or report["not_on"] != [])


if __name__ == "__main__":
    sys.exit(main())
