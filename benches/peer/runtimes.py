#!/usr/bin/env python3
"""Inference on a CPU beside OpenVINO and ONNX Runtime: images/s, round after round, and the latency of one image.

    runtimes.py OUT.md [NET[:BATCH,…] …] [--fcdd PROGRAM] [--rounds N] [--threads N]

Each net is trained for one epoch on a few random images and exported; its scores of others are compared first. fcdd is timed by `fcdd bench`, from inputs in memory
to scores and heatmaps upsampled to the input's size. The runtimes are given the net alone, from its first convolution to its last:
neither preprocessing, score nor upsampling, of which fcdd's graph would have them do more than fcdd does. Needs onnx, onnxruntime, openvino, pillow and numpy (pip).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from PIL import Image

# VGG_NOPT has the layers of VGG_F, without weights from elsewhere.
NETS = ["FCDD_CNN28_W:128,1", "FCDD_CNN32_LW3K:200,1", "FCDD_CNN224_VGG_NOPT:16,1"]
SECONDS = 2.0  # of each timing in a round, at least
AGREE = 1e-4  # relative differences of scores: nets of random images are ill-conditioned, wrong graphs differ in the first digit


def told(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def trained(fcdd, net, folder):
    """An exported model of a net, its images, and fcdd's scores of them."""
    random, data = np.random.default_rng(0), folder / "data"
    for kind in ("train/good", "test/good", "test/bad"):
        (data / kind).mkdir(parents=True)
        for i in range(16):
            small = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(small).resize((96, 96), Image.BILINEAR).save(data / kind / f"{i}.png")
    run, graph = folder / "run", folder / "net.onnx"
    told([fcdd, "train", data, "--net", net, "--epochs", "1", "--batch", "8", "--device", "cpu", "--out", run])
    told([fcdd, "export", run, "--onnx", graph])
    return run, graph


def compared(fcdd, run, graph, folder, threads):
    """The largest relative difference of scores by each runtime."""
    shape = onnx.load(str(graph)).graph.input[0].type.tensor_type.shape.dim
    side, channels = shape[1].dim_value, shape[3].dim_value
    images = folder / "images"
    images.mkdir()
    random = np.random.default_rng(1)
    inputs = random.integers(0, 256, (16, side, side, channels), np.uint8)
    for i, image in enumerate(inputs):
        Image.fromarray(image.squeeze()).save(images / f"{i:02}.png")
    out = folder / "scores"
    told([fcdd, "predict", run, images, "--what", "scores", "--no-input-check", "--device", "cpu", "--out", out])
    rows = [row.split(",") for row in (out / "scores.csv").read_text().splitlines()]
    at = rows[0].index("score")
    ours = np.array([float(row[at]) for row in rows[1:]])
    found = {}
    for name, runtime in RUNTIMES.items():
        if "bf16" not in name:
            scores = runtime(graph, threads)(inputs)["score"].reshape(-1)
            found[name] = float(np.max(np.abs(scores - ours) / ours))
    return found


def net_alone(graph):
    """The part from the first convolution to the last."""
    convolutions = [node for node in onnx.load(str(graph)).graph.node if node.op_type == "Conv"]
    alone = graph.with_name("alone.onnx")
    onnx.utils.extract_model(str(graph), str(alone), [convolutions[0].input[0]], [convolutions[-1].output[0]])
    return alone


def in_onnxruntime(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names, given = [output.name for output in session.get_outputs()], session.get_inputs()[0].name
    return lambda images: dict(zip(names, session.run(None, {given: images})))


def in_openvino(precision):
    def begun(path, threads):
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.Core().compile_model(str(path), "CPU", hints)
        names = [output.get_any_name() for output in compiled.outputs]
        return lambda images: dict(zip(names, compiled([images]).values()))

    return begun


# ONNX Runtime has no bf16 on x86.
RUNTIMES = {"ONNX Runtime f32": in_onnxruntime, "OpenVINO f32": in_openvino("f32"), "OpenVINO bf16": in_openvino("bf16")}


def seconds_of(run):
    """Of each call, for as long as a round takes."""
    run()
    seconds, end = [], time.perf_counter() + SECONDS
    while len(seconds) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


def by_fcdd(fcdd, net, batch, threads, flags, once):
    repeats = max(3, min(1000, int(SECONDS / once)))
    command = [fcdd, "--threads", threads, "bench", net, "--task", "infer", "--batch", batch, "--repeats", repeats, "--device", "cpu", "--json", *flags]
    return json.loads(told(command))["timings"][0]["seconds"]


def measure(fcdd, net, batches, rounds, threads):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run, graph = trained(fcdd, net, folder)
        differences = compared(fcdd, run, graph, folder, threads)
        print(f"{net}: scores differ by {differences}", file=sys.stderr)
        if max(differences.values()) > AGREE:
            sys.exit(f"{net}: scores of the runtimes are not fcdd's")
        alone = net_alone(graph)
        shape = [dim.dim_value for dim in onnx.load(str(alone)).graph.input[0].type.tensor_type.shape.dim]
        runs = {name: runtime(alone, threads) for name, runtime in RUNTIMES.items()}
        rows = []
        for batch in batches:
            inputs = np.random.default_rng(2).standard_normal((batch, *shape[1:]), np.float32)
            once = min(by_fcdd(fcdd, net, batch, threads, [], SECONDS))
            medians = {}
            for _ in range(rounds):
                for name, flags in (("fcdd", []), ("fcdd --exact", ["--exact"])):
                    medians.setdefault(name, []).append(statistics.median(by_fcdd(fcdd, net, batch, threads, flags, once)))
                for name, run in runs.items():
                    medians.setdefault(name, []).append(statistics.median(seconds_of(lambda: run(inputs))))
            rows.append((net, batch, medians))
            print(json.dumps(rows[-1]), file=sys.stderr)
        return differences, rows


def table(rows):
    names = list(rows[0][2])
    lines = ["| net, batch | " + " | ".join(names) + " | fcdd / best f32 | fcdd / bf16 |", "| --- |" + " ---: |" * (len(names) + 2)]
    for net, batch, medians in rows:
        rates = {name: [batch / seconds for seconds in of] for name, of in medians.items()}
        middle = {name: statistics.median(of) for name, of in rates.items()}
        cells = [f"{middle[name]:.4g} ({min(of):.4g}–{max(of):.4g})" for name, of in rates.items()]
        best = max(middle[name] for name in RUNTIMES if "f32" in name)
        cells += [f"**{middle['fcdd'] / best:.2f}**", f"**{middle['fcdd'] / middle['OpenVINO bf16']:.2f}**"]
        lines.append(f"| `{net}`, {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--fcdd", default="fcdd")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    lines = [f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__}; {given.threads} threads, {given.rounds} rounds.", ""]
    rows = []
    for spec in given.nets:
        net, _, batches = spec.partition(":")
        differences, found = measure(given.fcdd, net, [int(batch) for batch in batches.split(",")], given.rounds, given.threads)
        lines.append(f"`{net}`: scores differ by at most " + ", ".join(f"{value:.1e} ({name})" for name, value in differences.items()) + ".")
        rows += found
        given.out.write_text("\n".join(lines) + "\n\n" + table(rows))


if __name__ == "__main__":
    main()
