#!/usr/bin/env python3
"""Makes NET.safetensors beside it for each net with fixed features: what torchvision's layers and the head on them compute in f64.

    pip install torch torchvision safetensors
    tests/golden/multi_stage/make.py

As tests/golden/resnet18/make.py, whose weights and summaries these are; torchvision's layers are in evaluation mode, in training too.
"""

import sys
from pathlib import Path

import torch
import torchvision

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "resnet18"))
from make import batch, save, values, weights  # noqa: E402


class Vgg(torch.nn.Module):
    """Outputs of VGG layers, averaged over windows to the grid of the last, side by side, reduced."""

    def __init__(self, whole, taps):
        super().__init__()
        self.taps = taps
        self.features = whole.features[: max(taps) + 1]
        channels = sum(self.channels(tap) for tap in taps)
        self.reduce = torch.nn.Conv2d(channels, 192, 1)

    def channels(self, tap):
        return [layer.out_channels for layer in self.features[: tap + 1] if isinstance(layer, torch.nn.Conv2d)][-1]

    def forward(self, x):
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                # What comes next may change it in place.
                found.append(torch.nn.functional.avg_pool2d(x.clone(), self.taps[i]))
        return self.reduce(torch.cat(found, 1))


class ResNet(torch.nn.Module):
    """Outputs of the first two stages, the first averaged to the grid of the second."""

    def __init__(self):
        super().__init__()
        whole = torchvision.models.resnet18(weights=None)
        for name in ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2"]:
            setattr(self, name, getattr(whole, name))

    def forward(self, x):
        first = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return torch.cat([torch.nn.functional.avg_pool2d(first, 2), self.layer2(first)], 1)


class Net(torch.nn.Module):
    def __init__(self, fixed, eps):
        super().__init__()
        self.fixed = fixed.requires_grad_(False)
        self.head = torch.nn.Conv2d(192, 64, 3, padding=1)
        self.head_bn = torch.nn.BatchNorm2d(64, eps=eps)
        self.conv_final = torch.nn.Conv2d(64, 1, 1)

    def train(self, mode=True):
        super().train(mode)
        self.fixed.eval()
        return self

    def forward(self, x):
        return self.conv_final(torch.nn.functional.leaky_relu(self.head_bn(self.head(self.fixed(x)))))


def main():
    models = torchvision.models
    for name, net in [
        ("VGG16_MS", Net(Vgg(models.vgg16(weights=None), {8: 4, 15: 2, 22: 1}), 1e-4)),
        ("VGG11_MS", Net(Vgg(models.vgg11_bn(weights=None), {6: 4, 13: 2, 20: 1}), 1e-5)),
        ("RESNET18_MS", Net(ResNet(), 1e-5)),
    ]:
        net = net.double()
        weights(net)
        found = values(net, *batch())
        save({key.replace("fixed.", ""): value for key, value in found.items()}, Path(__file__).parent / f"{name}.safetensors")


main()
