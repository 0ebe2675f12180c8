#!/usr/bin/env python3
"""Whether a model refuses images that it cannot judge, with the right reason, and no others.

    pip install numpy pillow
    python benches/peer/odd_images.py OUT --program fcdd --model tiles=RUN=DIR board=RUN=DIR [--images 40]

RUN is a run of `fcdd train`, DIR its test images in MVTec-AD's layout. Of the good ones the first so many are made odd in each of some ways, and all of
them, good and defective, are given to `fcdd predict` as they are. A table, in Markdown, has for each model the share of each kind that is called
unusable and, in brackets, that of which one of the reasons is right; for good images, beside it, the rate that the model states, and for
defective ones what is lost of them by it.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif")


def black(image, _):
    return Image.new(image.mode, image.size)


def white(image, _):
    return Image.new(image.mode, image.size, (255,) * len(image.getbands()) if image.mode == "RGB" else 255)


def noise(image, random):
    shape = np.asarray(image).shape
    return Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))


def blurred(image, _):
    """As by a lens that is far out of focus: a tenth of the image."""
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 20))


def half_covered(image, _):
    image = image.copy()
    image.paste(Image.new(image.mode, (image.width, image.height // 2)), (0, 0))
    return image


def twelve_bits(image, _):
    """A camera's 12 bits in a file of 16."""
    return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 16)


def half_size(image, _):
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)


def double_size(image, _):
    return image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)


# Each with words of which one is in a right reason.
KINDS = {
    "black": (black, ("dark", "black", "contrast")),
    "white": (white, ("bright", "white", "contrast")),
    "noise": (noise, ("noisy", "contrast", "colour")),
    "blurred": (blurred, ("blurred",)),
    "half covered": (half_covered, ("black", "dark")),
    "12 bits in 16": (twelve_bits, ("of fewer bits",)),
    "half size": (half_size, ("narrow", "too low")),
    "double size": (double_size, ("wide", "tall")),
}


def images_in(folder):
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def predicted(program, run, folder, out):
    """What a model says of each image in a folder, by their order."""
    shutil.rmtree(out, ignore_errors=True)
    words = [program, "predict", str(run), str(folder), "--out", str(out), "--json", "--device", "cpu"]
    found = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if found.returncode not in (0, 4):
        raise SystemExit(found.stderr)
    shutil.rmtree(out)
    return json.loads(found.stdout)["predictions"]


def refused(rows, words=()):
    """The shares of images that are unusable, and that are so for one of some reasons."""
    unusable = [row for row in rows if row["verdict"] == "unusable"]
    right = [row for row in unusable if any(word in reason.split(":")[0] for reason in row["reason"].split("; ") for word in words)]
    return len(unusable) / len(rows), len(right) / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", default="fcdd")
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--images", type=int, default=40)
    args = parser.parse_args()
    print("| model | " + " | ".join(KINDS) + " | good images (stated) | defective |")
    print("| --- |" + " ---: |" * (len(KINDS) + 2))
    for model in args.model:
        name, run, data = model.split("=", 2)
        test = Path(data) / "test"
        good = images_in(test / "good")
        defective = [image for kind in sorted(test.iterdir()) if kind.is_dir() and kind.name != "good" for image in images_in(kind)]
        cells = []
        for kind, (make, words) in KINDS.items():
            random = np.random.default_rng(0)
            odd = args.out / name / "odd"
            shutil.rmtree(odd, ignore_errors=True)
            odd.mkdir(parents=True)
            for i, path in enumerate(good[: args.images]):
                image = Image.open(path)
                image = image.convert("L" if image.mode in ("1", "L", "I;16", "I") else "RGB")
                make(image, random).save(odd / f"{i:03}.png")
            share, right = refused(predicted(args.program, run, odd, args.out / name / "out"), words)
            cells.append(f"{100 * share:.0f} % ({100 * right:.0f} %)")
            shutil.rmtree(odd)
        asked = subprocess.run([args.program, "info", run, "--json"], check=True, stdout=subprocess.PIPE)
        stated = json.loads(asked.stdout)["input_check"]["false_alarm_rate"]
        for some, said in ((good, f" (at most {100 * stated:.1f} %)"), (defective, "")):
            folder = args.out / name / "as-they-are"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for i, path in enumerate(some):
                (folder / f"{i:04}{path.suffix}").symlink_to(path.resolve())
            rows = predicted(args.program, run, folder, args.out / name / "out")
            count = sum(row["verdict"] == "unusable" for row in rows)
            cells.append(f"{count} of {len(rows)}{said}")
            shutil.rmtree(folder)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
