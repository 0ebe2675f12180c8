#!/usr/bin/env python3
"""The protocol of scripts/fashion-mnist in PyTorch: FCDD_CNN28 on Fashion-MNIST, photographs in grey as outliers.

    pip install torch numpy pillow
    python benches/peer/fashion_mnist.py OUTLIERS CLASSES SEEDS        # such as photos.bin 0,1,2 0,1,2

Prints class, seed, image AUROC as trained, and with the norm's statistics re-estimated over ten training batches.
"""

import gzip
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

FOLDER = "/usr/share/datasets/fashion-mnist/"
EPOCHS, BATCH, PAD = 20, 128, 2


def idx(name, header):
    return np.frombuffer(gzip.open(FOLDER + name).read(), dtype=np.uint8, offset=header)


def images(stem):
    pixels, labels = idx(f"{stem}-images-idx3-ubyte.gz", 16), idx(f"{stem}-labels-idx1-ubyte.gz", 8)
    return torch.tensor(pixels.reshape(-1, 28, 28)).float(), labels


def photographs(path):
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, 3074)[:, 2:]
    colour = records.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    grey = [Image.fromarray(c).resize((28, 28), Image.BILINEAR).convert("L") for c in colour]
    return torch.tensor(np.stack([np.asarray(g) for g in grey])).float()


def contrast(x):
    x = x - x.mean((1, 2), keepdim=True)
    return x / x.abs().mean((1, 2), keepdim=True).clamp_min(1e-12)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn2d1 = nn.Conv2d(1, 8, 5, padding=2), nn.BatchNorm2d(8, eps=1e-4)
        self.conv2, self.conv_final = nn.Conv2d(8, 16, 5, padding=2), nn.Conv2d(16, 1, 1)

    def forward(self, x):
        x = F.max_pool2d(F.leaky_relu(self.bn2d1(self.conv1(x))), 2)
        return self.conv_final(F.max_pool2d(self.conv2(x), 2))


def scores(z):
    return (torch.sqrt(z * z + 1) - 1).mean((1, 2, 3))


def auroc(values, anomalous):
    rank = np.empty(len(values))
    rank[np.argsort(values)] = np.arange(len(values))
    p = anomalous.sum()
    return (rank[anomalous].sum() - p * (p - 1) / 2) / (p * (len(values) - p))


def run(train, test, outliers, normal_class, seed):
    torch.manual_seed(seed)
    normal = train[0][torch.tensor(train[1] == normal_class)]
    normalised = contrast(normal / 255)
    low, high = normalised.min(), normalised.max()
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2, weight_decay=1e-6, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.98**epoch)

    def inputs(x):
        return ((contrast(x / 255) - low) / (high - low))[:, None]

    def batch(samples):
        n, x = len(samples), normal[samples].clone()
        anomalous = torch.rand(n) < 0.5
        x[anomalous] = outliers[torch.randint(0, len(outliers), (int(anomalous.sum()),))]
        x = F.pad(x, (PAD,) * 4)
        dy, dx = torch.randint(0, 2 * PAD + 1, (2, n))
        rows, columns = dy[:, None, None] + torch.arange(28)[:, None], dx[:, None, None] + torch.arange(28)
        x = x[torch.arange(n)[:, None, None], rows, columns]
        flipped = torch.rand(n) < 0.5
        x[flipped] = x[flipped].flip(2)
        return inputs(x), anomalous

    for _ in range(EPOCHS):
        net.train()
        for samples in torch.randperm(len(normal)).split(BATCH):
            x, anomalous = batch(samples)
            s = scores(net(x))
            mixed = bool(anomalous.any()) and not bool(anomalous.all())
            loss = torch.where(anomalous, -torch.log(1 - torch.exp(-s) + 1e-31), s) if mixed else s
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
        schedule.step()

    def evaluate():
        net.eval()
        with torch.no_grad():
            found = torch.cat([scores(net(inputs(x))) for x in test[0].split(500)])
        return auroc(found.numpy(), test[1] != normal_class)

    trained = evaluate()
    net.train()
    net.bn2d1.reset_running_stats()
    net.bn2d1.momentum = None
    with torch.no_grad():
        for _ in range(10):
            net(batch(torch.randperm(len(normal))[:BATCH])[0])
    return trained, evaluate()


def main():
    torch.set_num_threads(1)
    path, classes, seeds = sys.argv[1:4]
    train, test, outliers = images("train"), images("t10k"), photographs(path)
    for normal_class in map(int, classes.split(",")):
        for seed in map(int, seeds.split(",")):
            print(normal_class, seed, *run(train, test, outliers, normal_class, seed), sep=",", flush=True)


if __name__ == "__main__":
    main()
