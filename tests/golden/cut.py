#!/usr/bin/env python3
"""Cuts the compact golden part from a full golden folder: cut.py FULL_FOLDER [HERE]. Needs the safetensors and numpy packages.

A small net's file whole; of the others some cases. Tensors are copied bit for bit, and the
manifest keeps what it says of them.
"""

import json
import sys
from pathlib import Path

from safetensors.numpy import load_file, save_file


def keep_loss(key):
    return key.startswith("h7/") or key.startswith("gt/FCDD_CNN28_W_std1.2/")


def keep_upsampling(key):
    return key.startswith(("FCDD_CNN28/", "FCDD_CNN32_S/"))


def keep_kernel(key):
    return key.startswith(("k3_", "k4_", "k16_", "k18_", "k22_", "kernel_size_to_std/"))


def keep_heatmap(key):
    return key.startswith(("jet_lut", "pipe/FCDD_CNN28_W/"))


def keep_curve(key):
    return key.startswith(("n20_", "n1000_ties/"))


def keep_contrast(key):
    return key.startswith(("c1_28/", "c3_32/", "const_half/"))


CONFIGS = ("adam_lambda", "sgd_milestones")


def keep_optimizer(key):
    # Two steps of two configurations, and of the parameters after them the small tensors.
    if key.startswith(("param0/", "buffer0/", "batch0/", "batch1/")):
        return True
    steps = tuple(f"{config}/step{step}/param/" for config in CONFIGS for step in (1, 2))
    return key.startswith(steps) and not key.endswith(("conv2.weight", "conv3.weight"))


FILES = {
    "net_FCDD_CNN28.safetensors": lambda key: True,
    "optim_FCDD_CNN32_S.safetensors": keep_optimizer,
    "roc.safetensors": keep_curve,
    "loss_fcdd.safetensors": keep_loss,
    "receptive_upsample.safetensors": keep_upsampling,
    "gkern.safetensors": keep_kernel,
    "lcn.safetensors": keep_contrast,
    "heatmap_norm.safetensors": keep_heatmap,
}


def main():
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    manifest = json.loads((source / "manifest.json").read_text())
    files = {}
    for name, keep in FILES.items():
        entry = manifest["files"][name]
        entry["keys"] = {key: about for key, about in entry["keys"].items() if keep(key)}
        if "configs" in entry:
            entry["configs"] = {config: entry["configs"][config] for config in CONFIGS}
        tensors = load_file(source / name)
        stored = {key: tensors[key] for key in entry["keys"] if key in tensors}
        save_file(stored, target / name)
        (target / name).chmod(0o644)
        entry["bytes"] = (target / name).stat().st_size
        files[name] = entry
    manifest["files"] = files
    (target / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n")


main()
