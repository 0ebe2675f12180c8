#!/usr/bin/env python3
"""Writes files with PyTorch, and what they hold: make.py [HERE]. Needs the torch, safetensors, numpy and pillow packages.

state.pth and state_legacy.pth are a dictionary of tensors of all kinds in both formats, state.safetensors its values in float32.
snapshot.pt and snapshot_legacy.pt are training states as FCDD's authors' code writes them, config.txt what it writes beside them, scores.csv
the scores of the images by the net, computed in float64. model.pth is a whole module, which no state dict is.
"""

import csv
import json
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

HERE = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)

# Of Fashion-MNIST's class 3: the extremes after local contrast normalisation.
CLASS, LOW, HIGH = 3, -1.9533653259277344, 18.65673065185547


class Net(nn.Module):
    """The layers of FCDD_CNN28."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5, padding=2)
        self.bn2d1 = nn.BatchNorm2d(8, eps=1e-4)
        self.conv2 = nn.Conv2d(8, 16, 5, padding=2)
        self.conv_final = nn.Conv2d(16, 1, 1)

    def forward(self, x):
        x = nn.functional.leaky_relu(self.bn2d1(self.conv1(x)))
        x = self.conv2(nn.functional.max_pool2d(x, 2, 2))
        return self.conv_final(nn.functional.max_pool2d(x, 2, 2))


def save(value, name, legacy=False):
    torch.save(value, HERE / name, _use_new_zipfile_serialization=not legacy)


def state():
    base = torch.arange(24, dtype=torch.float32) / 7 - 1
    tensors = OrderedDict(
        conv=base.reshape(2, 3, 2, 2),
        transposed=base.reshape(4, 6).t(),
        part=base[5:11],
        every_third=base[::3],
        expanded=base[3:4].expand(2, 2),
        scalar=torch.tensor(0.25),
        none=torch.zeros(0, 3),
        double=torch.linspace(-1, 1, 5, dtype=torch.float64),
        half=torch.linspace(-1, 1, 5, dtype=torch.float16),
        bfloat=torch.linspace(-1, 1, 5, dtype=torch.bfloat16),
        parameter=nn.Parameter(base[:4].clone()),
    )
    save_file({name: value.detach().float().contiguous().clone() for name, value in tensors.items()}, HERE / "state.safetensors")
    tensors["batches"] = torch.tensor(1234567890123)
    for name, legacy in [("state.pth", False), ("state_legacy.pth", True)]:
        save(tensors, name, legacy)


def trained():
    """A net with norms that are not the identity."""
    torch.manual_seed(0)
    net = Net()
    nn.init.uniform_(net.bn2d1.weight, 0.5, 1.5)
    nn.init.normal_(net.bn2d1.bias, 0, 0.1)
    optimizers = [
        torch.optim.SGD(net.parameters(), lr=1e-2, weight_decay=1e-6, momentum=0.9, nesterov=True),
        torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-6),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizers[0], lambda epoch: 0.98**epoch),
        torch.optim.lr_scheduler.MultiStepLR(optimizers[1], [2, 3], 0.1),
    ]
    for optimizer, schedule in zip(optimizers, schedules):
        for _ in range(2):
            optimizer.zero_grad()
            net(torch.randn(8, 1, 28, 28)).square().mean().backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        net.conv_final.weight.mul_(30)  # scores that differ
    return net, optimizers, schedules


def config(net, **changed):
    """As the authors' runner writes it: the net, the arguments as JSON, and notes."""
    arguments = dict(
        datadir="../../data/datasets", objective="fcdd", batch_size=128, epochs=2, workers=4, learning_rate=1e-2, weight_decay=1e-6,
        optimizer_type="sgd", scheduler_type="lambda", lr_sched_param=[0.98], load=None, dataset="fmnist", net="FCDD_CNN28",
        preproc="lcnaug1", acc_batches=1, bias=True, cuda=True, supervise_mode="noise", noise_mode="cifar100", oe_limit=float("inf"),
        online_supervision=True, nominal_label=0, blur_heatmaps=False, gauss_std=1.2, quantile=0.85, resdown=64, normal_class=CLASS,
        logdir="../../data/results/fcdd_{t}_fmnist_/normal_3/it_0", log_start_time=1600000000, viz_ids=[],
    )
    return f"{net}\n\n{json.dumps(arguments | changed)}\n\n"


def images():
    """A few shapes, and noise."""
    draw = np.random.default_rng(1)
    y, x = np.mgrid[:28, :28]
    shapes = [
        (np.hypot(x - 14, y - 14) < 9) * 200,
        (abs(x - 14) < 5) * (y > 3) * 180 + (y % 4) * 10,
        draw.integers(0, 256, (28, 28)),
        np.clip(x * 9 - y * 3, 0, 255),
    ]
    for i, shape in enumerate(shapes):
        pixels = shape.astype(np.uint8)
        Image.fromarray(pixels).save(HERE / "images" / f"{i}.png")
        yield f"{i}.png", torch.from_numpy(pixels.astype(np.float64) / 255)


def main():
    (HERE / "images").mkdir(exist_ok=True)
    state()
    net, optimizers, schedules = trained()
    for i, (name, legacy) in enumerate([("snapshot.pt", False), ("snapshot_legacy.pt", True)]):
        parts = {"net": net.state_dict(), "opt": optimizers[i].state_dict(), "sched": schedules[i].state_dict(), "epoch": 2}
        save(parts, name, legacy)
    (HERE / "config.txt").write_text(config(net))
    save(nn.Sequential(nn.Linear(2, 1)), "model.pth")
    net = net.double().eval()
    with open(HERE / "scores.csv", "w", newline="") as file, torch.no_grad():
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "score"])
        for name, image in images():
            image = image - image.mean()
            image = (image / image.abs().mean() - LOW) / (HIGH - LOW)
            z = net(image[None, None])
            table.writerow([name, f"{((z**2 + 1).sqrt() - 1).mean().item():.9g}"])


main()
