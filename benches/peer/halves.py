#!/usr/bin/env python3
"""Splits the test images of a folder in MVTec-AD's layout into two halves: one to choose by, one to report.

    python benches/peer/halves.py DATA OUT [--within 100]

Makes OUT/choose and OUT/report, folders of links in the same layout with all training images and half of the test images each. With --within,
images whose numbers in their names lie so close show one part and stay together, as magnetic tiles under several exposures do. The parts of each
kind go to the two halves in turn, in the order of their numbers.
"""

import argparse
import collections
import re
from pathlib import Path


def number(path):
    """The last number in a name, and 0 without one."""
    return int(([0] + re.findall(r"\d+", path.stem))[-1])


def parts(paths, within):
    """Lists of images of one part."""
    found = []
    for path in sorted(paths, key=lambda path: (number(path), path)):
        if found and number(path) - number(found[-1][-1]) < within:
            found[-1].append(path)
        else:
            found.append([path])
    return found


def link(data, out, path):
    target = out / path.relative_to(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(path.resolve())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--within", type=int, default=0)
    args = parser.parse_args()
    for half in ("choose", "report"):
        (args.out / half).mkdir(parents=True)
        (args.out / half / "train").symlink_to((args.data / "train").resolve())
    # Over all kinds: one exposure of a tile may count as good, and another as uneven.
    images = [path for kind in (args.data / "test").iterdir() for path in kind.iterdir()]
    seen = collections.Counter()
    for part in parts(images, args.within):
        kind = part[0].parent.name
        half = ("choose", "report")[seen[kind] % 2]
        seen[kind] += 1
        for path in part:
            link(args.data, args.out / half, path)
            for mask in (args.data / "ground_truth" / path.parent.name).glob(f"{path.stem}_mask.*"):
                link(args.data, args.out / half, mask)


if __name__ == "__main__":
    main()
