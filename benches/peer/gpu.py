#!/usr/bin/env python3
"""Times FCDD nets in PyTorch on a GPU, and PyTorch's rates of a copy and of matrix products: the counterpart of `fcdd bench --device cuda`.

    pip install torch
    python benches/peer/check.py fcdd CHECKED.json                 # first: are these fcdd's nets?
    python benches/peer/gpu.py OUT.json [NET ...] [--checked CHECKED.json] [--mode MODE ...] [--precision bf16 f32] [--seconds N]
    python benches/peer/gpu.py OUT.json --device cpu --smoke       # shows that the code runs, on tiny batches; no graphs there

channels_last, cudnn.benchmark, the batch already on the GPU. bf16 is autocast with losses in f32; f32 has TF32 off. A mode ending in
`+graph` captures the whole step in one CUDA graph: forward, loss, backward, optimizer. Each repeat is the mean over `steps` steps between
two events. Nets and objective are those of peer.py.

Wrong results are not timed: each mode is compared with eager mode, bf16 with f32, f32 with peer.py's functions as check.py compared them with
fcdd's, all on the batch that is timed; and after the timing the net must have learned. Nets that check.py found to differ from fcdd's are not
timed; those that CHECKED.json does not mention are timed as unchecked. Each result is printed
at once, and OUT.json written again. The timing runs in a process of its own, which is killed if one timing takes more than --limit seconds;
after --seconds all timing ends. Exit code 1 if nothing was timed. The most important modes come first; modes that compile for minutes are
best timed in a second run:

    python benches/peer/gpu.py OUT.json --mode eager+graph --limit 40
    python benches/peer/gpu.py OUT2.json FCDD_CNN32_LW3K FCDD_CNN224_VGG_F --mode max-autotune+graph --precision bf16 --limit 150
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from peer import NETS, Heatmap, build, fingerprint, loss, pseudo_huber, sgd

# Per mode: the `mode` of torch.compile, and whether the step is one CUDA graph. max-autotune without its own CUDA graphs, which cannot be
# captured into a graph of the whole step.
MODES = {
    "eager+graph": (None, True),
    "max-autotune+graph": ("max-autotune-no-cudagraphs", True),
    "compile+graph": ("default", True),
    "eager": (None, False),
    "compile": ("default", False),
    "max-autotune": ("max-autotune-no-cudagraphs", False),
}
# Timed first: modes that need no compilation and are known to work, then the one that should be the fastest.
FIRST = [("eager+graph", "bf16"), ("eager+graph", "f32"), ("max-autotune+graph", "bf16")]

# How much results may differ, relative to the largest. Inference in bf16: operands and result of each of up to 21 layers are rounded by
# 2^-9 or less, independently: √63 · 2^-9 = 1.6 %; a score is proportional to the square of a map's values, which doubles it. Training in
# bf16: the losses are means over all scores, in which this averages out; but gradients differ by a tenth, and a step changes the loss by a
# tenth. Modes of f32 differ only in the order of sums, and in the argmax of pools, which changes a gradient by up to 1 %.
BOUNDS = {("infer", "bf16"): 0.032, ("train", "bf16"): 0.01, ("infer", "f32"): 1e-3, ("train", "f32"): 1e-3}

STEPS_COMPARED = 3  # steps of training whose losses are compared
CLOCKS_LIMIT = 4  # seconds that nvidia-smi has for its answer


class Clock:
    """Measures the seconds that work takes on a device."""

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
    """Clocks and power as nvidia-smi reports them; None without nvidia-smi, or if it does not answer."""
    query = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu"
    try:
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    try:
        lines = process.communicate(timeout=CLOCKS_LIMIT)[0].splitlines()
    except subprocess.TimeoutExpired:
        process.kill()  # and nobody waits for its end: a driver that hangs may keep it
        return None
    return dict(zip(query.split(","), lines[0].split(", "))) if lines and process.returncode == 0 else None


def autocast(device, precision):
    if precision == "f32":
        return contextlib.nullcontext()
    # No cache of cast weights: a graph would keep using those of the first step.
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def compiled(work, how):
    return torch.compile(work, mode=how) if how else work


def as_built(name, weights, device):
    """A net as peer.py builds it, with these weights: no other memory format, no autocast, not compiled."""
    net = build(name).to(device)
    net.load_state_dict(weights)
    return net


class Training:
    """Forward, loss, backward and optimizer on one batch. SGD changes no state on the host, so a graph can hold the whole step."""

    def __init__(self, name, precision, device, batch, how):
        _, (channels, side, _), _, _ = NETS[name]
        torch.manual_seed(0)
        self.net = build(name).to(device, memory_format=torch.channels_last)
        self.start = {key: value.clone() for key, value in self.net.state_dict().items()}
        self.optimizer = sgd(self.net, fused=device.type == "cuda")
        self.x = x = torch.randn(batch, channels, side, side, device=device).to(memory_format=torch.channels_last)
        self.labels = labels = (torch.arange(batch, device=device) % 2).float()

        def objective():
            with autocast(device, precision):
                z = self.net(x)
            return loss(z.float(), labels)

        self.objective = compiled(objective, how)

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        value = self.objective()
        value.backward()
        self.optimizer.step()
        return value.detach()

    def results(self, run):
        """Losses of the first steps, from the initial weights; leaves the trained ones."""
        self.net.load_state_dict(self.start)
        for state in self.optimizer.state.values():
            state["momentum_buffer"].zero_()
        return [torch.stack([run().clone() for _ in range(STEPS_COMPARED)])]

    def checked(self, name):
        """The same losses, of what check.py compared with fcdd: peer.py's net as it is built, its loss and its optimizer."""
        net = as_built(name, self.start, self.x.device)
        optimizer, losses = sgd(net), []
        for _ in range(STEPS_COMPARED):
            optimizer.zero_grad()
            losses.append(loss(net(self.x.contiguous()), self.labels))
            losses[-1].backward()
            optimizer.step()
        return [torch.stack(losses).detach()]

    def prove(self, run, *_):
        """Fails unless the steps so far and one more have changed the weights that are trained, and no others."""
        last = run().item()
        if not last < float("inf"):
            raise ValueError(f"the loss is {last} after the timing")
        for key, p in self.net.named_parameters():
            # Biases before a norm have no gradient.
            if p.dim() > 1 and torch.equal(p, self.start[key]) == p.requires_grad:
                raise ValueError(f"{key} {'did not change' if p.requires_grad else 'is frozen and changed'} in the timing")


class Inference:
    """Scores and heatmaps of one batch."""

    def __init__(self, name, precision, device, batch, how):
        _, (channels, side, _), field, _ = NETS[name]
        torch.manual_seed(0)
        self.net = net = build(name).to(device, memory_format=torch.channels_last).eval()
        self.x = x = torch.randn(batch, channels, side, side, device=device).to(memory_format=torch.channels_last)
        heatmap = Heatmap(side, *field).to(device)

        def infer():
            with autocast(device, precision):
                z = net(x)
            a = pseudo_huber(z.float())
            return a.mean((1, 2, 3)), heatmap(a)

        self.infer = compiled(infer, how)

    def __call__(self):
        with torch.no_grad():
            return self.infer()

    def results(self, run):
        return [value.clone() for value in run()]

    def checked(self, name):
        """The same scores and heatmaps, of what check.py compared with fcdd: peer.py's net as it is built, its map and its upsampling."""
        _, (_, side, _), field, _ = NETS[name]
        with torch.no_grad():
            a = pseudo_huber(as_built(name, self.net.state_dict(), self.x.device).eval()(self.x.contiguous()))
            return [a.mean((1, 2, 3)), Heatmap(side, *field).to(self.x.device)(a)]

    def prove(self, run, expected, bound):
        """Fails unless a run after the timing still gives the results of eager mode."""
        for value in run():
            value.fill_(float("nan"))  # a graph writes to the same tensors each time: a replay that does nothing would leave old results
        compare(self.results(run), expected, bound, "after the timing and of eager")


WORK = {"train": Training, "infer": Inference}


def compare(values, expected, bound, what):
    """The largest difference of the tensors, relative to the largest value of each; fails if it is above the bound."""
    apart = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(values, expected)]
    if not all(d <= bound for d in apart):  # also true of NaN
        raise ValueError(f"results {what} are {', '.join(f'{d:.1e}' for d in apart)} apart, more than {bound:g}")
    return max(apart)


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
        results = run()

    def replay():
        graph.replay()
        return results

    return replay


class Timer:
    """Times one thing after another in this process."""

    def __init__(self, args):
        self.args, self.device = args, torch.device(args.device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.clock = Clock(self.device)
        self.plain = {}

    def peaks(self):
        return peaks(self.device, self.clock, self.args.smoke)

    def expected(self, name, task, precision, batch):
        """Results of eager mode; those of bf16 are compared with f32, and those with what check.py compared with fcdd."""
        key = name, task, precision
        if key not in self.plain:
            plain = WORK[task](name, precision, self.device, batch, None)
            results = plain.results(plain)
            if precision == "bf16":
                compare(results, self.expected(name, task, "f32", batch), BOUNDS[task, "bf16"], "of bf16 and f32")
            else:
                compare(results, plain.checked(name), BOUNDS[task, "f32"], "of eager mode and of the net that check.py checked")
            self.plain[key] = results
        return self.plain[key]

    def time(self, name, task, mode, precision, batch):
        (how, graph), bound = MODES[mode], BOUNDS[task, precision]
        torch.backends.cudnn.benchmark = False  # no search for the fastest algorithms where nothing is timed
        expected = self.expected(name, task, precision, batch)
        torch.backends.cudnn.benchmark = True
        work = WORK[task](name, precision, self.device, batch, how)
        run = captured(work) if graph else work
        difference = compare(work.results(run), expected, bound, f"of {mode} and eager")

        def steps():
            for _ in range(self.args.steps):
                run()

        steps()  # chooses algorithms, compiles, raises the clocks
        seconds = [self.clock(steps) / self.args.steps for _ in range(self.args.repeats)]
        work.prove(run, expected, bound)
        return {"seconds": seconds, "images_per_second": batch / sorted(seconds)[len(seconds) // 2], "from_eager": difference}

    def serve(self, pipe):
        """Runs the jobs that come through the pipe, for ever."""
        while True:
            what, job = pipe.recv()
            try:
                answer = getattr(self, what)(**job)
            except Exception as error:  # a mode that this machine does not support must not prevent the others
                answer = {"error": (f"{type(error).__name__}: {error}".splitlines() or ["?"])[0]}
            pipe.send(answer)
            torch.compiler.reset()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def serve(pipe, args):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: is killed when its parent ends
    Timer(args).serve(pipe)


class Worker:
    """A process that runs timings and can be killed."""

    def __init__(self, args):
        self.args, self.process, self.pipe = args, None, None

    def ask(self, what, limit, **job):
        if self.process is None:
            # Forked, for torch is loaded and has not touched the GPU in this process.
            context = multiprocessing.get_context("fork")
            self.pipe, end = context.Pipe()
            self.process = context.Process(target=serve, args=(end, self.args))
            self.process.start()
            end.close()
        try:
            self.pipe.send((what, job))
            answer = self.pipe.recv() if self.pipe.poll(limit) else {"error": f"out of time after {limit:.0f} seconds"}
        except (EOFError, OSError):
            answer = {"error": "the process that timed it died"}
        if "error" in answer:
            self.close()  # a fresh process for the next timing, whatever state the failure left
        return answer

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.join(5)  # a kernel that hangs may keep it longer
            self.process = None


def checked_nets(path, failed=False):
    """Whether each net is fcdd's, as check.py wrote into this file; no nets if it checked another version of peer.py, or if it failed and does not
    name a net as the reason."""
    if not path or not Path(path).exists():
        return {}
    try:
        found = json.loads(Path(path).read_text())
        nets = {name: one["passed"] for name, one in found["nets"].items() if found["peer"] == fingerprint()}
        return {} if failed and all(nets.values()) else nets
    except (ValueError, KeyError, AttributeError, TypeError) as error:  # such as a file of a check that was cut short
        print(f"{path}: not what check.py writes ({type(error).__name__}: {error}): all nets count as unchecked", flush=True)
        return {}


def save(path, report):
    """Writes a temporary file and renames it, so that the report is complete at any time."""
    Path(f"{path}.part").write_text(json.dumps(report, indent=1) + "\n")
    os.replace(f"{path}.part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--task", choices=["train", "infer"], nargs="+", default=["train", "infer"])
    parser.add_argument("--mode", choices=MODES, nargs="+")
    parser.add_argument("--precision", choices=["bf16", "f32"], nargs="+", default=["bf16", "f32"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--checked", help="output of check.py: nets that did not pass are not timed, nets not in it are marked unchecked")
    parser.add_argument("--check-failed", action="store_true", help="check.py ended with another exit code than 0")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=float, default=120, help="seconds of one timing, compiling included")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of all timings")
    parser.add_argument("--smoke", action="store_true", help="batches of two, single steps and small products")
    args = parser.parse_args()
    if args.smoke:
        args.repeats = args.steps = 1
    with contextlib.closing(Worker(args)) as worker:
        return 0 if everything(worker, args) else 1


def everything(worker, args):
    """Times all that was asked for, while there is time; returns whether anything was timed."""
    end = time.monotonic() + args.seconds
    modes = args.mode or [mode for mode, (_, graph) in MODES.items() if args.device == "cuda" or not graph]
    checked = checked_nets(args.checked, args.check_failed)
    plan = list(itertools.product(args.precision, modes, args.nets, args.task))
    urgency = lambda precision, mode, *_: FIRST.index((mode, precision)) if (mode, precision) in FIRST else len(FIRST)
    plan.sort(key=lambda timing: urgency(*timing))
    report = {"clocks_before": clocks(), "peaks": worker.ask("peaks", min(args.limit, args.seconds)), "timings": []}
    if "error" in report["peaks"]:
        print(f"peaks: {result_of(report['peaks'])}", flush=True)
    for precision, mode, name, task in plan:
        left = end - time.monotonic()
        if left < 5:
            report["cut_short"] = f"after {args.seconds:g} seconds, before {name} {task} {precision} {mode}"
            break
        _, (_, side, batch), _, _ = NETS[name]
        batch = 2 if args.smoke else 128 if side == 224 else batch
        timing = {
            "net": name, "task": task, "mode": f"torch {torch.__version__} {args.device} {precision} {mode}",
            "how": ("graph" if MODES[mode][1] else "launch by launch") + ", fixed batch",
            "threads": torch.get_num_threads(), "batch": batch, "side": side, "steps_per_repeat": args.steps, "checked": name in checked,
        }  # fmt: skip
        if checked.get(name, True):
            timing |= worker.ask("time", min(args.limit, left), name=name, task=task, mode=mode, precision=precision, batch=batch)
        else:
            timing["error"] = "not the same net as fcdd's"
        report["timings"].append(timing)
        save(args.out, report)
        print(f"{name} {task} {timing['mode']}: {result_of(timing)}", flush=True)
    # An nvidia-smi that did not answer is not asked again.
    save(args.out, {**report, "clocks_after": report["clocks_before"] and clocks()})
    return any("error" not in timing for timing in report["timings"])


def result_of(timing):
    if "error" in timing:
        return f"error: {timing['error']}"
    rate = timing["images_per_second"]
    return f"{1e3 * timing['batch'] / rate:.3f} ms, {rate:.1f} images/s"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # sys.exit would wait for the worker, which a kernel that hangs may keep for ever
