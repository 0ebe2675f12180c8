#!/usr/bin/env python3
"""Whether training in bf16 with the kernels of sm_90 (WGMMA, PDL) finds what f32 finds: Fashion-MNIST's bags against all else.

    auroc.py FCDD OUT.json --data DIR [--device cuda|cpu] [--seeds 0 1 2] [--epochs N]
    auroc.py 'scripts/with-standin fcdd' OUT.json --smoke          # shows that this runs, on a few random pictures

Both train FCDD_CNN28_W on the same pictures in the same order, from the same weights; anomalies are training images of the other classes,
which a few epochs learn. The second convolution, with 97 % of the operations, has 128 channels in and out: forward and backward it is
WGMMA's. Prints image AUROC and seconds of each run; OUT.json is renewed as they come. Exit code 1 if a run failed, if a switch was not on,
or if bf16 finds less. FCDD is the program and how it is started.
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

SWITCHES = {"FCDD_WGMMA": "1", "FCDD_PDL": "1"}
# Precision, and what is switched on.
MODES = {"f32": {}, "bf16": SWITCHES}

# What bf16 may lose of the mean image AUROC: less than what seeds are apart, 0.012 after ten epochs of FCDD_CNN28 on the CPU, where bf16
# was within 0.0002 of f32 with the same seed. After one epoch single runs differ by 0.02.
LOSS = 0.01


def pictures(folder, count):
    """Random pictures in Fashion-MNIST's files, `count` of each class."""
    for part in ("train", "t10k"):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4I", 0x803, 10 * count, 28, 28) + os.urandom(10 * count * 28 * 28))
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">2I", 0x801, 10 * count) + bytes(i % 10 for i in range(10 * count)))


def answer(command, environment, limit):
    """The JSON that fcdd prints, or what went wrong."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit, env={**os.environ, **environment}
        )  # fmt: skip
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"out of time after {limit:g} seconds"}
    except json.JSONDecodeError:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def switched_on(args):
    """Whether the device has what is switched on: it falls back without a word."""
    command = [*args.fcdd, "bench", "FCDD_CNN28_W", "--task", "predict", "--repeats", "1", "--device", args.device, "--json"]
    found = answer(command, SWITCHES, args.limit)
    return "error" not in found and {"wgmma", "pdl"} <= set(found["timings"][0]["mode"].replace(",", "").split())


def train(args, data, precision, seed, run):
    command = [*args.fcdd, "train", "fmnist", "--data", str(data), "--class", "8", "--net", "FCDD_CNN28_W", "--supervise", "other"]
    command += ["--precision", precision, "--seed", str(seed), "--epochs", str(args.epochs), "--device", args.device]
    command += ["--out", str(run), "--json"] + (["--batch", "4"] if args.smoke else [])
    started = time.perf_counter()
    found = answer(command, MODES[precision], args.limit)
    row = {"precision": precision, "seed": seed, "epochs": args.epochs, "seconds": time.perf_counter() - started}
    return row | {key: found[key] for key in ("image_auroc", "loss", "error") if key in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fcdd", type=shlex.split)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=float, default=60, help="seconds of one run")
    parser.add_argument("--smoke", action="store_true", help="two random pictures a class, one seed, one epoch")
    args = parser.parse_args()
    report = {"switched_on": switched_on(args), "runs": []}
    print("wgmma and pdl: " + ("on" if report["switched_on"] else "NOT on") + "\n\n| precision | seed | image AUROC | loss | seconds |")
    print("| --- " * 5 + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if args.smoke:
            args.seeds, args.epochs, args.data, args.limit = [0], 1, folder, 600
            pictures(folder, 2)
        # Seed by seed: what is cut short has pairs.
        for seed in args.seeds:
            for precision in MODES:
                row = train(args, args.data, precision, seed, folder / f"{precision}-{seed}")
                report["runs"].append(row)
                args.out.write_text(json.dumps(report, indent=1) + "\n")
                figures = f"{row['error']} | –" if "error" in row else f"{row['image_auroc']:.4f} | {row['loss']:.4f}"
                print(f"| {precision} | {seed} | {figures} | {row['seconds']:.1f} |", flush=True)
    if any("error" in row for row in report["runs"]):
        return 1
    means = {p: statistics.mean(row["image_auroc"] for row in report["runs"] if row["precision"] == p) for p in MODES}
    print("\nmean image AUROC: " + ", ".join(f"{precision} {mean:.4f}" for precision, mean in means.items()))
    found_less = not args.smoke and means["bf16"] < means["f32"] - LOSS
    if found_less:
        print(f"bf16 finds less, by more than {LOSS}")
    return int(found_less or (args.device == "cuda" and not report["switched_on"]))


if __name__ == "__main__":
    sys.exit(main())
