#!/usr/bin/env python3
"""Checks that peer.py's PyTorch nets are fcdd's: writes golden files of them, which `fcdd verify --golden` computes from the same weights.

    pip install torch numpy safetensors
    python benches/peer/check.py FCDD OUT.json [NET ...] [--device cuda|cpu]

Of each net with random weights: output, loss, every gradient and the norms' statistics of a training batch, the evaluation after it, two
steps of the optimizer, and the upsampling of its heatmaps; all in f64 on the CPU. fcdd compares them with its own f64 from end to end, and
on the device step by step. FCDD is the command that starts the program, such as `fcdd` or `scripts/with-standin fcdd`. OUT.json says which
nets passed; gpu.py takes it as --checked and does not time the others. Exit code 1 if a net did not pass.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from peer import NETS, Heatmap, build, fingerprint, loss, pseudo_huber, sgd

# fcdd's names of the modules with parameters, in order. Those of VGG are numbered like the modules, except for the last.
NAMES = {
    "FCDD_CNN28_W": ["conv1", "bn2d1", "conv2", "conv_final"],
    "FCDD_CNN32_LW3K": ["conv1", "bn2d1", "conv2", "bn2d2", "conv25", "bn2d25", "conv3", "conv_final"],
}
# Norms that the authors' nets have and never use; fcdd expects them in a file.
UNUSED = {"FCDD_CNN32_LW3K": ("bn2d3", 128)}

# Above 64 pixels fcdd compares nets on the device step by step, so that a pool's argmax that depends on rounding fails no check. The nets are
# fully convolutional and halve the side three times at most, so any multiple of 8 will do.
BATCH, SIDE = 2, 72
STEPS = 2

# Tolerances of f32. Where the argmax of a pool depends on rounding, single weights differ: by up to 2.5 % of the largest update in ten draws.
# A missing momentum or a frozen layer that learns differs by half an update or more; the bounds of f64 are strict.
OF_AN_UPDATE = 0.1
# Sums of some hundred rounded products, in f32, and the loss, which cancels where scores are small.
OF_A_VALUE = 1e-4


def names(name, net):
    """fcdd's name of each parameter and buffer of the peer."""
    indices = [index for index, module in enumerate(net) if next(module.parameters(), None) is not None]
    modules = NAMES.get(name) or [f"features.{index}" for index in indices[:-1]] + ["conv_final"]
    of = dict(zip(map(str, indices), modules, strict=True))
    return {key: f"{of[key.split('.')[0]]}.{key.split('.')[1]}" for key in net.state_dict()}


def reception(net, side):
    """The output map's side, the distance of its pixels in the input, the side of a receptive field, and the shift of the first one."""
    n, jump, size, shift = side, 1, 1, 0.0
    for module in net:
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            k, stride, pad = (v if isinstance(v, int) else v[0] for v in (module.kernel_size, module.stride, module.padding))
            n, size, shift = (n + 2 * pad - k) // stride + 1, size + (k - 1) * jump, shift + ((k - 1) / 2 - pad) * jump
            jump *= stride
    return torch.tensor([n, jump, size, shift])


def state(name, net, params, buffers):
    """Parameters and buffers under two prefixes, with fcdd's names."""
    found, of = {}, names(name, net)
    parameters = dict(net.named_parameters())
    for key, value in net.state_dict().items():
        found[f"{params if key in parameters else buffers}/{of[key]}"] = value.clone()
    if name in UNUSED:
        norm, channels = UNUSED[name]
        for key, value in nn.BatchNorm2d(channels).state_dict().items():
            found[f"{params if key in ('weight', 'bias') else buffers}/{norm}.{key}"] = value
    return found


def fresh(name):
    """A net in f64 with random weights that f32 holds, the norms' moved off 0 and 1."""
    net = build(name)
    with torch.no_grad():
        for norm in (module for module in net if isinstance(module, nn.BatchNorm2d)):
            for value in (norm.weight, norm.running_var):
                value.uniform_(0.5, 1.5)
            for value in (norm.bias, norm.running_mean):
                value.normal_(0, 0.1)
    return net.double()


def batch(name, side):
    return torch.randn(BATCH, NETS[name][1][0], side, side).double(), torch.arange(BATCH) % 2


def of_net(name):
    """One training batch and the evaluation after it."""
    net = fresh(name)
    of = names(name, net)
    tensors = state(name, net, "param", "buffer")
    x, labels = batch(name, SIDE)
    x.requires_grad_()
    z = net(x)
    value = loss(z, labels)
    value.backward()
    grads = {f"grad/{of[key]}": p.grad for key, p in net.named_parameters() if p.grad is not None}
    tensors |= {"input": x.detach(), "labels": labels, "reception": reception(net, SIDE), **grads}
    tensors |= {"out_train": z.detach(), "loss": value.detach(), "grad_input": x.grad}
    tensors |= {key: v for key, v in state(name, net, "", "buffer_after").items() if key.startswith("buffer_after/")}
    net.eval()
    with torch.no_grad():
        z = net(x)
        a = pseudo_huber(z)
    tensors |= {"out_eval": z, "ascore_eval": a, "score_eval": a.mean((1, 2, 3))}
    norms = {i: module for i, module in enumerate(net) if isinstance(module, nn.BatchNorm2d)}
    about = {
        "net": name, "bias": True, "objective": "fcdd",
        "max_abs_over_all_param_grads": max(g.abs().max().item() for g in grads.values()),
        # A norm subtracts the mean, and with it the bias of the convolution before it.
        "zero_grad_params": [of[f"{i - 1}.bias"] for i in norms],
        "bn": {
            of[f"{i}.weight"].removesuffix(".weight"): {"eps": norm.eps, "momentum": norm.momentum, "affine": norm.affine}
            for i, norm in norms.items()
        },
    }  # fmt: skip
    return tensors, about


def of_optimizer(name):
    """Two steps of the optimizer, with rates large enough to change the weights visibly."""
    config = {"lr": 1e-2, "wdk": 1e-2, "sched": "lambda", "sched_params": [1.0], "opt": "sgd"}
    net = fresh(name)
    start = state(name, net, "param", "buffer0")
    tensors = {key.replace("param/", "param0/"): value for key, value in start.items()}
    optimizer, losses, keys = sgd(net, config["lr"], config["wdk"]), [], {}
    for step in range(STEPS):
        x, labels = batch(name, SIDE)
        tensors |= {f"batch{step}/input": x, f"batch{step}/labels": labels}
        optimizer.zero_grad()
        value = loss(net(x), labels)
        value.backward()
        optimizer.step()
        losses.append(value.item())
        for key, now in state(name, net, "param", "").items():
            if key.startswith("param/"):
                tensors[f"sgd/step{step + 1}/{key}"] = now
                update = now.double() - start[key].double()
                keys[f"sgd/step{step + 1}/{key}"] = tolerance(now, OF_AN_UPDATE, update)
    tensors["sgd/loss"] = torch.tensor(losses, dtype=torch.float64)
    keys["sgd/loss"] = tolerance(tensors["sgd/loss"], OF_A_VALUE, tensors["sgd/loss"])
    return tensors, {"net": name, "bias": True, "configs": {"sgd": config}, "keys": keys}


def tolerance(value, share, of):
    """The tolerance of f32: a share of `of`, and the rounding of the value itself."""
    value, of = value.double(), of.double()
    rel_l2 = 1e-6 + share * (of.norm() / value.norm().clamp_min(1e-30)).item()
    return {"tol_f32": {"max_abs": 4e-7 * value.abs().max().item() + share * of.abs().max().item(), "rel_l2": rel_l2}}


def of_upsampling(name):
    """Upsampling of maps with the size of the net's output to heatmaps with that of its input."""
    _, (_, side, _), field, _ = NETS[name]
    where = reception(build(name), side)
    a = torch.randn(BATCH, 1, int(where[0]), int(where[0])).double()
    heatmaps = Heatmap(side, *field).double()(a)
    tensors = {f"{name}/input": a, f"{name}/reception": where, f"{name}/std_1.2": heatmaps}
    return tensors, {"keys": {f"{name}/std_1.2": tolerance(heatmaps, OF_A_VALUE, heatmaps)}}


def write(folder, name):
    """The golden folder of a net."""
    files = {f"net_{name}": of_net, f"optim_{name}": of_optimizer, "receptive_upsample": of_upsampling}
    manifest = {}
    for file, make in files.items():
        tensors, manifest[f"{file}.safetensors"] = make(name)
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{file}.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"files": manifest}) + "\n")


def check(fcdd, device, name, limit):
    """The outcome of `fcdd verify` on a net's golden folder."""
    torch.manual_seed(0)  # whichever nets were asked for
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(Path(folder), name)
            command = [*fcdd, "verify", "--golden", folder, "--device", device, "--json"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit)
            checks = json.loads(done.stdout)["checks"]
        except subprocess.TimeoutExpired:
            return {"passed": False, "why": f"no answer from fcdd within {limit:g} seconds"}
        except json.JSONDecodeError:
            return {"passed": False, "why": done.stderr.strip() or f"fcdd ended with {done.returncode} and no report"}
        except Exception as error:  # a net that cannot even be written to golden files: the other nets are still checked
            return {"passed": False, "why": f"{type(error).__name__}: {error}"}
    # The steps compare fcdd's f32 with fcdd's f64: a difference there is no fault of peer.py's net. All other checks decide.
    steps, files = [], []
    for one in checks:
        (steps if one["name"].startswith(f"net_{name} step ") else files).append(one)
    return {
        "passed": bool(files) and all(one["outcome"] == "passed" for one in files),
        "checks": len(files), "why": said(files), "steps": len(steps), "steps_off": said(steps),
    }  # fmt: skip


def said(checks):
    """The first checks that did not pass, in one line."""
    wrong = [one for one in checks if one["outcome"] != "passed"]
    lines = [f"{one['name']}: {one['error']:.2e} of {one['bound']:.1e}, {one['detail']}" for one in wrong[:4]]
    return "; ".join(lines + [f"{len(wrong) - 4} more"] * (len(wrong) > 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fcdd", type=shlex.split)
    parser.add_argument("out", type=Path)
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--limit", type=float, default=120, help="seconds of fcdd per net")
    args = parser.parse_args()
    found = {"peer": fingerprint(), "device": args.device, "nets": {}}
    for name in args.nets:
        found["nets"][name] = one = check(args.fcdd, args.device, name, args.limit)
        print(f"{name}: {'the same net' if one['passed'] else 'not the same net: ' + one['why']}", flush=True)
        if one.get("steps_off"):
            print(f"{name}: fcdd's own steps on the device: {one['steps_off']}", flush=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(one["passed"] for one in found["nets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
