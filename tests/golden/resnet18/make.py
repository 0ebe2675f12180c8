#!/usr/bin/env python3
"""Makes values.safetensors beside it: what torchvision's ResNet-18, cut after layer3 and with a 1×1 head, computes in f64.

    pip install torch torchvision safetensors
    tests/golden/resnet18/make.py

Nothing is downloaded: the weights are a formula, `weights` here and in tests/numerics/resnet.rs. The file has the input and the labels of a
batch; the map, the scores and the losses in training mode and in evaluation mode; and of each gradient and running statistic the sum, the
Euclidean norm and the first eight numbers.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

N, SIDE = 2, 32
PHI = 0.6180339887498949


def numbers(index, count):
    """Numbers in -1..1, evenly spread: the fractional parts of the golden ratio's multiples."""
    values = torch.arange(1, count + 1, dtype=torch.float64) * PHI + 0.37 * index
    return 2 * (values - values.floor()) - 1


def weights(model):
    """Fills parameters in the order of their names' layers: convolutions with the variance 1 / fan_in, norms near the identity."""
    for index, (name, value) in enumerate(model.named_parameters()):
        u = numbers(index, value.numel()).reshape(value.shape)
        if value.dim() == 4:
            u = u * (3 / value[0].numel()) ** 0.5
        else:
            u = 1 + 0.2 * u if name.endswith("weight") else 0.1 * u
        # Rounded to f32, which models are kept in.
        value.data = u.float().double()


def summary(value):
    flat = value.detach().flatten()
    return torch.cat([torch.stack([flat.sum(), flat.norm()]), flat[:8]])


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        whole = resnet18(weights=None)
        for name in ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"]:
            setattr(self, name, getattr(whole, name))
        self.conv_final = torch.nn.Conv2d(256, 1, 1)

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


def batch():
    """Images, and their labels."""
    pixels = torch.arange(N * 3 * SIDE * SIDE, dtype=torch.float64).reshape(N, 3, SIDE, SIDE)
    x = torch.sin(0.05 * pixels) + torch.cos(0.0031 * pixels * pixels.remainder(97))
    return x.float().double(), torch.tensor([0.0, 1.0], dtype=torch.float64)


def values(model, x, labels):
    """What a model makes of a batch."""
    found = {"input": x.float(), "labels": labels}
    for mode in ["eval", "train"]:
        model.train(mode == "train")
        z = model(x)
        scores = (torch.sqrt(z * z + 1) - 1).mean(dim=(1, 2, 3))
        losses = torch.where(labels > 0, -torch.log(1 - torch.exp(-scores)), scores)
        found |= {f"map/{mode}": z.detach().squeeze(1), f"scores/{mode}": scores.detach(), f"losses/{mode}": losses.detach()}
    losses.mean().backward()
    trained = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    found |= {f"gradient/{name}": summary(value.grad) for name, value in trained}
    found |= {f"buffer/{name}": summary(value) for name, value in model.named_buffers() if "running" in name}
    return found


def save(found, path):
    save_file({name: value.contiguous() for name, value in found.items()}, path, {"torch": torch.__version__})


def main():
    model = Net().double()
    weights(model)
    save(values(model, *batch()), Path(__file__).parent / "values.safetensors")


if __name__ == "__main__":
    main()
