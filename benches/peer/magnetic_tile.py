#!/usr/bin/env python3
"""The protocol of the first table of benches/results/magnetic-tile.md in PyTorch: FCDD_CNN224 from scratch on a folder in
MVTec-AD's layout, confetti, map loss.

    pip install torch torchvision numpy pillow
    python benches/peer/magnetic_tile.py DIR LR SEEDS        # such as magnetic_tile 1e-3 0,1,2

Prints seed, image and pixel AUROC as trained, and both with the norms' statistics re-estimated over ten training batches.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn
from torchvision.transforms import ColorJitter

STORED, SIDE, LOW = 240, 224, 28
EPOCHS, BATCH, SIGMA = 15, 32, 12.0
JUMP, FIELD = 8, 59  # of FCDD_CNN224


def stored(path):
    """An image as fcdd stores it: 240 x 240, each pixel the one at floor(i * size / 240)."""
    image = np.asarray(Image.open(path).convert("RGB"))
    rows, columns = (np.arange(STORED) * size // STORED for size in image.shape[:2])
    return image[rows][:, columns]


def resized(image):
    return Image.fromarray(image).resize((SIDE, SIDE), Image.NEAREST)


def contrast(x):
    x = x - x.mean()
    scale = x.abs().mean()
    return x / scale if scale > 0 else x


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def confetti(rng):
    """Dark squares, some in colour, rotated by up to 45 degrees, blurred: values in -511...0 at the stored side."""
    noise = np.zeros((STORED, STORED, 3), dtype=np.float32)
    for rate, coloured in ((1.8e-5, True), (1.2e-5, False)):
        part = np.zeros_like(noise)
        for _ in range(max(1, rng.binomial(STORED * STORED, rate))):
            y, x = rng.integers(0, STORED, 2)
            half, angle = rng.integers(8, 55) / 2, np.deg2rad(rng.uniform(-45, 45))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            corners = np.array([[-half, -half], [half, -half], [half, half], [-half, half]]) @ turn.T + (x, y)
            mask = Image.new("1", (STORED, STORED))
            ImageDraw.Draw(mask).polygon([tuple(c) for c in corners], fill=1)
            part[np.asarray(mask)] = rng.integers(-256, 0, 3) if coloured else -255
        noise += part
    taps = torch.exp(-((torch.arange(25) - 12.0) ** 2) / (2 * 5.0**2))
    taps = (taps / taps.sum()).expand(3, 1, 1, 25)
    blurred = F.pad(torch.from_numpy(noise).permute(2, 0, 1)[None], (12,) * 4, mode="reflect")
    blurred = F.conv2d(F.conv2d(blurred, taps, groups=3), taps.transpose(2, 3), groups=3)
    return blurred[0].permute(1, 2, 0).trunc().numpy()


def malformed(image, noise):
    def change(noise):
        return np.clip(image + noise, 0, 255) - image

    if abs(change(noise).mean()) < 0.025 and abs(change(-noise).mean()) > abs(change(noise).mean()):
        noise = -noise
    return (image + change(noise)).astype(np.uint8)


def convolution(inputs, outputs, side):
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def network():
    layers, inputs = [], 3
    for outputs, side, pooled in ((8, 5, True), (32, 5, True), (64, 3, False), (128, 3, True)):
        layers += [convolution(inputs, outputs, side), nn.BatchNorm2d(outputs, eps=1e-4), nn.LeakyReLU()]
        layers += [nn.MaxPool2d(3, 2, 1)] if pooled else []
        inputs = outputs
    return nn.Sequential(*layers, convolution(128, 128, 3), nn.Conv2d(128, 1, 1))


def field_matrix():
    """One axis of the receptive-field upsampling: LOW values become SIDE."""
    x = torch.arange(SIDE)[:, None] + (FIELD - 1) // 2 - JUMP * torch.arange(LOW)
    taps = torch.exp(-((x - (FIELD - 1) // 2) ** 2) / (2 * SIGMA**2))
    return torch.where((x >= 0) & (x < FIELD), taps, 0.0)


def auroc(values, anomalous):
    """Ties count half."""
    order = np.argsort(values, kind="stable")
    ordered, labels = values[order], anomalous[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    positives = np.cumsum(labels)[ends].astype(np.float64)
    negatives = ends + 1 - positives
    below, gained = np.append(0, negatives[:-1]), np.diff(positives, prepend=0)
    return float((gained * (below + (negatives - below) / 2)).sum() / (positives[-1] * negatives[-1]))


def run(folder, rate, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    normal = [stored(path) for path in sorted((folder / "train/good").iterdir())]
    extremes = [contrast(tensor(resized(image))) for image in normal]
    low = torch.stack([x.amin((1, 2)) for x in extremes]).amin(0)[:, None, None]
    high = torch.stack([x.amax((1, 2)) for x in extremes]).amax(0)[:, None, None]
    del extremes
    net, matrix = network(), field_matrix()
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, weight_decay=1e-4, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.985**epoch)
    strong, weak = ColorJitter(0.04, 0.04, 0.04, 0.04), ColorJitter(0.005, 0.0005, 0.0005, 0.0005)

    def scaled(x):
        return (contrast(x) - low) / (high - low)

    def sample(image):
        anomalous = rng.random() < 0.5
        if anomalous:
            image = malformed(image, confetti(rng))
        if rng.random() < 0.5:
            y, x = rng.integers(0, STORED - SIDE + 1, 2)
            image = Image.fromarray(image[y : y + SIDE, x : x + SIDE])
        else:
            image = resized(image)
        x = tensor((strong if rng.random() < 0.5 else weak)(image))
        if rng.random() < 0.5:
            x = x + 0.1 * x.std() * torch.randn_like(x)
        return scaled(x.clamp(0, 1)), float(anomalous)

    def batch(samples):
        images, labels = zip(*(sample(normal[i]) for i in samples))
        return torch.stack(images), torch.tensor(labels)

    def maps(images):
        z = net(images)[:, 0]
        return torch.sqrt(z * z + 1) - 1

    for _ in range(EPOCHS):
        net.train()
        for samples in torch.randperm(len(normal)).split(BATCH):
            images, labels = batch(samples)
            full = matrix @ maps(images) @ matrix.T
            score = full.mean((1, 2))
            loss = torch.where(labels > 0, -torch.log(1 - torch.exp(-score) + 1e-31), score).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()

    def evaluate():
        net.eval()
        scores, anomalous, pixels, wrong = [], [], [], []
        for path in sorted((folder / "test").glob("*/*")):
            kind = path.parent.name
            with torch.no_grad():
                found = maps(scaled(tensor(resized(stored(path))))[None])[0]
            scores.append(float(found.mean()))
            anomalous.append(kind != "good")
            width, height = Image.open(path).size
            rows, columns = np.arange(height) * SIDE // height, np.arange(width) * SIDE // width
            pixels.append((matrix @ found @ matrix.T).numpy()[rows][:, columns].ravel())
            if kind == "good":
                wrong.append(np.zeros(pixels[-1].size, dtype=bool))
            else:
                mask = Image.open(folder / "ground_truth" / kind / f"{path.stem}_mask.png").convert("L")
                wrong.append(np.asarray(mask).ravel() > 127)
        return auroc(np.array(scores), np.array(anomalous)), auroc(np.concatenate(pixels), np.concatenate(wrong))

    trained = evaluate()
    net.train()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None
    with torch.no_grad():
        for _ in range(10):
            net(batch(torch.randperm(len(normal))[:BATCH])[0])
    return *trained, *evaluate()


def main():
    torch.set_num_threads(1)
    folder, rate, seeds = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    for seed in map(int, seeds.split(",")):
        print(seed, *(f"{value:.4f}" for value in run(folder, rate, seed)), sep=",", flush=True)


if __name__ == "__main__":
    main()
