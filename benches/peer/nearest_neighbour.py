#!/usr/bin/env python3
"""A nearest neighbour on pretrained features, in the manner of PatchCore (Roth et al., CVPR 2022): what a detector has to beat.

    pip install torch numpy pillow safetensors scipy
    python benches/peer/nearest_neighbour.py DATA WEIGHTS.safetensors [OUT.json] [--seeds 0 1 2] [--share 0.1]

DATA is a folder in MVTec-AD's layout, WEIGHTS has VGG-16's convolutions up to relu4_3 under torchvision's names. Images are squashed to
224x224; a patch is a pixel of a 28x28 grid: relu3_3, average-pooled to it, beside relu4_3, each averaged over 3x3 patches. Of the training
images' patches a random tenth is kept (PatchCore chooses them greedily). A patch of a test image has as score its distance from the nearest of
them, an image that of its worst patch. The map is interpolated to the image's own size and blurred with a Gaussian of sigma 4.

Figures are those of `fcdd evaluate`: AUROC of images and of pixels at the masks' own sizes, PRO up to a false positive rate of 0.3; and for
each kind of defect its AUROC and the share that is found at 1 % false positives among the good test images.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage
from scipy.stats import rankdata

SIDE, GRID, SIGMA = 224, 28, 4.0
MEAN, DEVIATION = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
# torchvision's numbers of VGG-16's convolutions, stage by stage.
STAGES = [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21]]
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
MOST_FALSE_POSITIVES = 0.3


def images(folder):
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def features(paths, weights):
    """28x28 patches of 768 values for each image."""
    for path in paths:
        image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)
        x = ((torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - MEAN) / DEVIATION)[None]
        stages = []
        for number, stage in enumerate(STAGES):
            x = F.max_pool2d(x, 2) if number else x
            for i in stage:
                x = F.relu(F.conv2d(x, weights[f"features.{i}.weight"], weights[f"features.{i}.bias"], padding=1))
            stages.append(x)
        pooled = [F.avg_pool2d(F.adaptive_avg_pool2d(stage, GRID), 3, stride=1, padding=1) for stage in stages[2:]]
        yield torch.cat(pooled, 1)[0].flatten(1).T


def distances(patches, memory, norms):
    """Distance of each patch from the nearest in memory."""
    nearest = [(norms[i:i + 8192] - 2 * patches @ memory[i:i + 8192].T).amin(1) for i in range(0, len(memory), 8192)]
    return (torch.stack(nearest).amin(0) + patches.square().sum(1)).clamp(min=0).sqrt()


def auroc(normal, anomalous):
    """None where a class is missing."""
    if not (len(normal) and len(anomalous)):
        return None
    ranks = rankdata(np.concatenate([normal, anomalous]))[len(normal):]
    return float((ranks.sum() - len(anomalous) * (len(anomalous) + 1) / 2) / (len(normal) * len(anomalous)))


def pro(maps, masks):
    """Per-region overlap: the mean share of a region above a threshold, averaged over false positive rates up to 0.3."""
    weights, regions = [], 0
    for mask in masks:
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64)
        weights.append((1 / sizes)[labels] * mask)
        regions += count
    if not regions:
        return None
    score, weight = (np.concatenate([a.ravel() for a in arrays]) for arrays in (maps, weights))
    order = np.argsort(-score, kind="stable")
    score, weight = score[order], weight[order]
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # equal scores enter together
    rate = np.cumsum(weight == 0)[ends] / (weight == 0).sum()
    found = np.cumsum(weight)[ends] / regions
    rate, found = np.append(0, rate), np.append(0, found)
    last = np.interp(MOST_FALSE_POSITIVES, rate, found)
    below = rate < MOST_FALSE_POSITIVES
    return float(np.trapezoid(np.append(found[below], last), np.append(rate[below], MOST_FALSE_POSITIVES)) / MOST_FALSE_POSITIVES)


def mask_of(data, kind, path, shape):
    """None where an anomalous image has no mask."""
    if kind == "good":
        return np.zeros(shape, bool)
    found = [p for p in (data / "ground_truth" / kind / f"{path.stem}{end}.png" for end in ("_mask", "")) if p.exists()]
    return np.array(Image.open(found[0]).convert("L")) > 127 if found else None


def run(data, weights, share, seed):
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for patches in features(images(data / "train/good"), weights):
        kept.append(patches[torch.randperm(len(patches), generator=generator)[:round(share * len(patches))]])
    memory = torch.cat(kept)
    norms = memory.square().sum(1)
    learned = time.monotonic()
    scores, maps, masks = {}, [], []
    for kind in sorted(folder.name for folder in (data / "test").iterdir() if folder.is_dir()):
        paths = images(data / "test" / kind)
        scores[kind] = []
        for path, patches in zip(paths, features(paths, weights), strict=True):
            grid = distances(patches, memory, norms)
            scores[kind].append(float(grid.max()))
            width, height = Image.open(path).size
            mask = mask_of(data, kind, path, (height, width))
            if mask is not None:
                whole = F.interpolate(grid.view(1, 1, GRID, GRID), (height, width), mode="bilinear")[0, 0].numpy()
                sigma = (SIGMA * height / SIDE, SIGMA * width / SIDE)
                maps.append(ndimage.gaussian_filter(whole, sigma).astype(np.float32))
                masks.append(mask)
    good = np.array(scores.pop("good"))
    threshold = np.sort(good)[int(np.ceil(0.99 * len(good))) - 1]
    pixels, marked = (np.concatenate([a.ravel() for a in arrays]) for arrays in (maps, masks))
    return {
        "seed": seed,
        "image_auroc": auroc(good, np.concatenate(list(scores.values()))),
        "pixel_auroc": auroc(pixels[~marked], pixels[marked]),
        "pro": pro(maps, masks),
        "kinds": {
            kind: {"images": len(s), "auroc": auroc(good, s), "found_at_1_percent": float((np.array(s) > threshold).mean())}
            for kind, s in scores.items()
        },
        "minutes": {"learning": (learned - started) / 60, "testing": (time.monotonic() - learned) / 60},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.1, help="of the training images' patches that is kept")
    args = parser.parse_args()
    weights = load_file(args.weights)
    results = []
    with torch.inference_mode():
        for seed in args.seeds:
            results.append(run(args.data, weights, args.share, seed))
            print(json.dumps(results[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"data": str(args.data), "threads": torch.get_num_threads(), "runs": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
