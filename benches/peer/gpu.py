#!/usr/bin/env python3
"""Times FCDD nets in PyTorch on a GPU, and what a copy and matrix products reach there: the peer of `fcdd bench --device cuda`.

    pip install torch
    python benches/peer/gpu.py OUT.json [NET ...] [--mode MODE ...] [--precision bf16 f32] [--repeats N] [--steps N] [--seconds N]
    python benches/peer/gpu.py OUT.json --device cpu --smoke       # shows that the code runs, on tiny batches; no graphs there

channels_last, cudnn.benchmark, the batch already on the GPU. bf16 is autocast with losses in f32; f32 has TF32 off. A mode ending in
`+graph` captures the whole step in one CUDA graph: forward, loss, backward, optimizer. Each repeat is the mean over `steps` steps between
two events. OUT.json is written after each timing, so that a run that is cut short leaves what it found; no timing starts after --seconds. Nets and
objective are those of peer.py.
"""

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import time

import torch

from peer import NETS, Heatmap, loss, pseudo_huber

# In the order in which they are timed: first the quick one that is known to be good, then the one that should be the best.
MODES = ["eager+graph", "max-autotune+graph", "compile+graph", "eager", "compile", "max-autotune"]
# max-autotune brings graphs of its own, which cannot be captured in one of the whole step.
COMPILE = {"compile": "default", "max-autotune": "max-autotune-no-cudagraphs"}


class Clock:
    """Seconds that work takes on a device."""

    def __init__(self, device):
        self.on_gpu = device.type == "cuda"

    def __call__(self, work):
        if not self.on_gpu:
            started = time.perf_counter()
            work()
            return time.perf_counter() - started
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def peaks(device, clock, smoke):
    """Bytes per second of a copy, read and written; operations per second of matrix products."""

    def least(work):
        work()
        return min(clock(work) for _ in range(5))

    side, values = (256, 1 << 16) if smoke else (8192, 1 << 28)
    source = torch.randn(values, device=device)
    target = torch.empty_like(source)
    found = {"bytes_per_second": 8 * values / least(lambda: target.copy_(source))}
    for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        found[f"flops_per_second_{name}"] = 2 * side**3 / least(lambda: a @ b)
    return found


def clocks():
    """What nvidia-smi says of clocks and power; None where there is none."""
    query = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu"
    try:
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        values = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None
    return dict(zip(query.split(","), values.split(", ")))


def step(name, task, kind, precision, device, batch):
    """A function that does one training step or one inference."""
    layers, (channels, side, _), field, frozen = NETS[name]
    torch.manual_seed(0)
    net = torch.nn.Sequential(*layers()).to(device, memory_format=torch.channels_last)
    x = torch.randn(batch, channels, side, side, device=device).to(memory_format=torch.channels_last)
    for module in net[:frozen]:
        module.requires_grad_(False)
    cast = contextlib.nullcontext
    if precision == "bf16":
        # Casts of the weights must not outlive a step: a graph would keep the first ones.
        cast = lambda: torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)

    def compiled(work):
        return torch.compile(work, mode=COMPILE[kind]) if kind in COMPILE else work

    if task == "train":
        labels = (torch.arange(batch, device=device) % 2).float()
        optimizer = torch.optim.SGD(
            [p for p in net.parameters() if p.requires_grad],
            lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-6, fused=device.type == "cuda",
        )  # fmt: skip

        def objective():
            with cast():
                z = net(x)
            return loss(z.float(), labels)

        objective = compiled(objective)

        def run():
            optimizer.zero_grad(set_to_none=True)
            objective().backward()
            optimizer.step()

        return run
    net.eval()
    heatmap = Heatmap(side, *field).to(device)

    def judge():
        with cast():
            z = net(x)
        a = pseudo_huber(z.float())
        return a.mean((1, 2, 3)), heatmap(a)

    judge = compiled(judge)

    def run():
        with torch.no_grad():
            judge()

    return run


def captured(run):
    """The same work as one replayed graph."""
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(5):
            run()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def bench(name, task, mode, precision, device, clock, args):
    _, (_, side, batch), _, _ = NETS[name]
    batch = 2 if args.smoke else 128 if side == 224 else batch
    kind, graph = mode.removesuffix("+graph"), mode.endswith("+graph")
    timing = {
        "net": name, "task": task, "mode": f"torch {torch.__version__} {device.type} {precision} {mode}", "threads": torch.get_num_threads(),
        "batch": batch, "side": side,
    }  # fmt: skip
    try:
        run = step(name, task, kind, precision, device, batch)
        if graph:
            run = captured(run)

        def steps():
            for _ in range(args.steps):
                run()

        steps()  # chooses algorithms, compiles, raises the clocks
        seconds = [clock(steps) / args.steps for _ in range(args.repeats)]
    except Exception as error:  # a mode that this machine lacks the means for must not cost the others
        return {**timing, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        torch.compiler.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return {**timing, "seconds": seconds, "images_per_second": batch / sorted(seconds)[len(seconds) // 2]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--task", choices=["train", "infer"], nargs="+", default=["train", "infer"])
    parser.add_argument("--mode", choices=MODES, nargs="+")
    parser.add_argument("--precision", choices=["bf16", "f32"], nargs="+", default=["bf16", "f32"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--smoke", action="store_true", help="batches of two and small products")
    args = parser.parse_args()
    started, device = time.monotonic(), torch.device(args.device)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clock = Clock(device)
    modes = args.mode or [mode for mode in MODES if device.type == "cuda" or not mode.endswith("+graph")]
    report = {"clocks_before": clocks(), "peaks": peaks(device, clock, args.smoke), "timings": []}
    # All of bf16 first; what is cut short is the least of the modes in f32.
    for precision, mode, name, task in itertools.product(args.precision, modes, args.nets, args.task):
        if time.monotonic() - started > args.seconds:
            report["cut_short"] = f"after {args.seconds:g} seconds, before {name} {task} {precision} {mode}"
        else:
            timing = bench(name, task, mode, precision, device, clock, args)
            report["timings"].append(timing)
            found = timing.get("error") or f"{timing['images_per_second']:.1f} images/s"
            print(f"{name} {task} {timing['mode']}: {found}", file=sys.stderr)
        report["clocks_after"] = clocks()
        with open(args.out, "w") as file:
            file.write(json.dumps(report, indent=1) + "\n")
        if "cut_short" in report:
            break


if __name__ == "__main__":
    main()
