#!/usr/bin/env python3
"""Whether thresholds keep what they promise: the false positive rate on good images that nobody has seen, over random splits.

    python benches/peer/false_positives.py OUT --program fcdd --data tiles=DIR board=DIR [--splits 20] [--images 50 100 200] [--flags "--epochs 5"]
                                           [--gap N]

DIR is a folder of good images, or one in MVTec-AD's layout. In each split so many images are drawn to train on (`fcdd train`, which holds a fifth of
them out), and a threshold is set for each promise from the scores of those that were held out, by the rule of docs/reference.md; what they cannot
promise is shown as refused, as fcdd does. All other good images are scored. With --gap, images whose file names end in numbers at most so far
apart, in chains, show one part, and a part is drawn as a whole (fcdd is told by --part-gap).

A table, in Markdown, has for each number of images and each promise the mean of the false positive rate over the splits, its standard deviation,
and the largest. Runs lie in OUT/SET-IMAGES-SPLIT; those that are there are not made again.
"""

import argparse
import json
import math
import random
import re
import shutil
import statistics
import struct
import subprocess
from pathlib import Path

PROMISES = (0.01, 0.05, 0.10)


def good_images(folder):
    """The good images of a folder."""
    folders = [folder / "train/good", folder / "test/good"]
    folders = [good for good in folders if good.is_dir()] or [folder]
    return sorted(path for good in folders for path in good.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif"))


def parts(images, gap):
    """Images, those of one part together."""
    if gap is None:
        return [[image] for image in images]
    numbered = sorted((int(re.search(r"(\d+)$", image.stem)[1]), image) for image in images)
    groups = []
    for i, (number, image) in enumerate(numbered):
        if i and number - numbered[i - 1][0] <= gap:
            groups[-1].append(image)
        else:
            groups.append([image])
    return groups


def scored(program, run, images, gap, flags):
    """Scores of the images held out of a training, and of others."""
    learned, others = images
    rows = run / "scores.json"
    if not rows.exists():
        shutil.rmtree(run, ignore_errors=True)
        for name, some in (("good", learned), ("others", others)):
            (run / name).mkdir(parents=True)
            for image in some:
                (run / name / image.name).symlink_to(image.resolve())
        gap = [] if gap is None else ["--part-gap", str(gap)]
        train = [program, "train", "./good", "--out", "run", *gap, *flags.split()]
        subprocess.run(train, cwd=run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        predict = [program, "predict", "run", "others", "--no-input-check", "--out", "predicted", "--json"]
        found = subprocess.run(predict, cwd=run, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        scores = [row["score"] for row in json.loads(found.stdout)["predictions"]]
        shutil.rmtree(run / "predicted")
        model = (run / "run/model.safetensors").read_bytes()
        head = json.loads(model[8 : 8 + struct.unpack("<Q", model[:8])[0]])
        calibration = json.loads(head["__metadata__"]["fcdd"])["calibration"]
        assert calibration["images"] == "held-out"
        rows.write_text(json.dumps({"held_out": calibration["scores"], "others": scores}))
        for name in ("good", "others"):
            shutil.rmtree(run / name)
    found = json.loads(rows.read_text())
    return found["held_out"], found["others"]


def threshold(scores, promise):
    """The conformal quantile of rising scores; None where they are too few."""
    above = math.floor((len(scores) + 1) * promise * (1 + 1e-12))
    return None if above == 0 else scores[len(scores) - above]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", default="fcdd")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--flags", default="")
    parser.add_argument("--gap", type=int)
    args = parser.parse_args()
    print("| set | good images | held out | " + " | ".join(f"at most {promise:.0%}" for promise in PROMISES) + " |")
    print("| --- | ---: | ---: |" + " ---: |" * len(PROMISES))
    for data in args.data:
        name, folder = data.split("=", 1)
        groups = parts(good_images(Path(folder)), args.gap)
        for count in args.images:
            rates, held = {promise: [] for promise in PROMISES}, []
            for split in range(args.splits):
                drawn = random.Random(f"{name} {count} {split}")
                order = groups[:]
                drawn.shuffle(order)
                learned, others = [], []
                for group in order:
                    (learned if len(learned) + len(group) <= count and not others else others).extend(group)
                held_out, scores = scored(args.program, args.out / f"{name}-{count}-{split}", (learned, others), args.gap, args.flags)
                held.append(len(held_out))
                for promise in PROMISES:
                    if (at := threshold(held_out, promise)) is not None:
                        rates[promise].append(sum(score > at for score in scores) / len(scores))
            cells = []
            for promise in PROMISES:
                of = rates[promise]
                cells.append(f"{100 * statistics.mean(of):.1f} ± {100 * statistics.pstdev(of):.1f} (most {100 * max(of):.1f}) %" if of else "refused")
            print(f"| {name} | {count} | {min(held)}–{max(held)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
