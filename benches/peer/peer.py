#!/usr/bin/env python3
"""Times FCDD nets in PyTorch on the CPU and prints the same JSON as `fcdd bench --json`, for comparison with fcdd's CPU path.

    pip install torch
    python benches/peer/peer.py [NET ...] [--task train|infer] [--mode eager|channels_last|compile|bf16|bf16_compile] [--threads N] [--repeats N]

The nets, the objective and the receptive-field upsampling are implemented here from the paper; batches and sides are those of
`fcdd bench`. `compile` is torch.compile over channels_last tensors, with which it is faster than with contiguous ones; `bf16` is autocast to bf16
over such, by itself and compiled.
"""

import argparse
import hashlib
import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


def block(cin, cout, k, activation, eps):
    return [nn.Conv2d(cin, cout, k, padding=k // 2), nn.BatchNorm2d(cout, eps=eps), activation()]


def leaky(cin, cout, k):
    return block(cin, cout, k, lambda: nn.LeakyReLU(0.01), 1e-4)


def relu(cin, cout):
    return block(cin, cout, 3, nn.ReLU, 1e-5)


def conv(cin, cout, k):
    return [nn.Conv2d(cin, cout, k, padding=k // 2)]


def pool():
    return [nn.MaxPool2d(2, 2)]


# Layers; input channels, side and batch; jump and size of the receptive field, its shift; leading modules that are frozen.
NETS = {
    "FCDD_CNN28_W": (
        lambda: [*leaky(1, 128, 5), *pool(), *conv(128, 128, 5), *pool(), *conv(128, 1, 1)],
        (1, 28, 128), (4, 16, 1), 0,
    ),
    "FCDD_CNN32_LW3K": (
        lambda: [
            *leaky(3, 128, 3), *pool(), *leaky(128, 256, 3), *leaky(256, 256, 3), *pool(), *conv(256, 128, 3), *conv(128, 1, 1),
        ],
        (3, 32, 200), (4, 22, 1), 0,
    ),
    "FCDD_CNN224_VGG_F": (
        lambda: [
            *relu(3, 64), *pool(), *relu(64, 128), *pool(), *relu(128, 256), *relu(256, 256), *pool(),
            *relu(256, 512), *relu(512, 512), *conv(512, 1, 1),
        ],
        (3, 224, 16), (8, 62, 3), 15,
    ),
}


def fingerprint():
    """The hash of this file: results of check.py hold for these nets only."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def build(name):
    """A net with fresh weights. Frozen layers are not trained, but their norms still use the statistics of the batch."""
    layers, _, _, frozen = NETS[name]
    net = nn.Sequential(*layers())
    for module in net[:frozen]:
        module.requires_grad_(False)
    return net


def sgd(net, lr=1e-3, weight_decay=1e-6, **how):
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay, **how)


def gaussian(size, sigma):
    odd = size - 1 if size % 2 == 0 else size
    x = torch.arange(odd) - (odd - 1) / 2
    g = torch.exp(-(x**2) / (2 * sigma**2))
    if size % 2 == 0:
        g = torch.cat([g[: odd // 2], g[odd // 2 : odd // 2 + 1].repeat(2), g[odd // 2 + 1 :]]) / 2
    return torch.outer(g, g)[None, None]


class Heatmap(nn.Module):
    """Algorithm 1: a transposed convolution with a Gaussian, cropped to the input's side."""

    def __init__(self, side, jump, size, shift):
        super().__init__()
        self.register_buffer("kernel", gaussian(size, 1.2))
        self.side, self.jump, self.even = side, jump, size % 2 == 0
        self.first = (size - 1) // 2 - shift

    def forward(self, a):
        padding = self.side - (a.shape[-1] - 1) * self.jump - 1 - self.even
        a = F.conv_transpose2d(a, self.kernel, stride=self.jump, output_padding=padding)
        return a[:, :, self.first : self.first + self.side, self.first : self.first + self.side]


def pseudo_huber(z):
    return torch.sqrt(z * z + 1) - 1


def loss(z, labels):
    score = pseudo_huber(z).mean((1, 2, 3))
    return torch.where(labels > 0, -torch.log(1 - torch.exp(-score) + 1e-31), score).mean()


MODES = ["eager", "channels_last", "compile", "bf16", "bf16_compile"]


def bench(name, task, mode, repeats):
    in_bf16, is_compiled = mode.startswith("bf16"), mode.endswith("compile")
    cast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=in_bf16)
    _, (channels, side, batch), field, _ = NETS[name]
    torch.manual_seed(0)
    net = build(name)
    x = torch.randn(batch, channels, side, side)
    if mode != "eager":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if task == "train":
        labels = (torch.arange(batch) % 2).float()
        optimizer = sgd(net)

        def objective():
            with cast():
                z = net(x)
            return loss(z.float(), labels)

        if is_compiled:
            objective = torch.compile(objective)

        def run():
            optimizer.zero_grad(set_to_none=True)
            objective().backward()
            optimizer.step()
    else:
        net.eval()
        heatmap = Heatmap(side, *field)

        def infer():
            with cast():
                z = net(x)
            a = pseudo_huber(z.float())
            return a.mean((1, 2, 3)), heatmap(a)

        if is_compiled:
            infer = torch.compile(infer)

        def run():
            with torch.inference_mode():
                infer()

    for _ in range(2):
        run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    median = statistics.median_high(seconds)
    return {
        "net": name, "task": task, "mode": f"torch {torch.__version__} cpu {mode if in_bf16 else f'f32 {mode}'}", "threads": torch.get_num_threads(),
        "batch": batch, "side": side, "seconds": seconds, "images_per_second": batch / median,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--task", choices=["train", "infer"])
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    tasks = [args.task] if args.task else ["train", "infer"]
    modes = [args.mode] if args.mode else MODES
    timings = [bench(net, task, mode, args.repeats) for net in args.nets for task in tasks for mode in modes]
    print(json.dumps({"timings": timings}, indent=2))


if __name__ == "__main__":
    main()
