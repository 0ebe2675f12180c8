#!/usr/bin/env python3
"""Exported models in ONNX Runtime and OpenVINO beside fcdd: differences of scores, maps and verdicts, and times.

    onnx_runtimes.py OUT.md MODEL=DIR … [--fcdd PROGRAM] [--images N] [--threads N] [--untimed]

A model is a run's folder or a model file, DIR holds real images of its kind (N of them are taken, evenly spaced). Each model is exported twice:
as it is, for which Pillow brings the images to the size of the net's input, and with --with-resize, for which they stay as they are. Needs onnx, onnxruntime, openvino, pillow and numpy (pip).
"""

import argparse
import csv
import json
import resource
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

KINDS = {".png", ".jpg", ".jpeg", ".bmp"}
BATCH = 16


def evenly(items, count):
    return items if len(items) <= count else [items[i * len(items) // count] for i in range(count)]


def as_samples(image, channels):
    """[height, width, channels] of an image."""
    return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(image.height, image.width, channels)


def check(path):
    """What a file is, once it is proven to be sound and of ONNX's own operators."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path))
    assert {entry.domain for entry in model.opset_import} == {""}, model.opset_import
    assert all(node.domain == "" for node in model.graph.node)
    return {entry.key: entry.value for entry in model.metadata_props}, model


def in_onnxruntime(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"image": images})))


def in_openvino(path, threads):
    core = openvino.Core()
    # Without the hint, processors with bf16 compute in that.
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})
    names = [output.get_any_name() for output in compiled.outputs]

    def run(images):
        found = compiled([images])
        return {name: found[i].copy() for i, name in enumerate(names)}

    return run


RUNTIMES = {"ONNX Runtime": in_onnxruntime, "OpenVINO": in_openvino}


def by_fcdd(fcdd, model, images, out, threads):
    """Score, verdict and map of each image by its place in the list."""
    command = [fcdd, "predict", model, "-", "--out", out, "--what", "map", "--no-input-check", "--device", "cpu", "--threads", threads]
    words = [str(word) for word in command]
    subprocess.run(words, check=True, input="\n".join(map(str, images)), text=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    with open(out / "scores.csv", newline="") as table:
        rows = {row["image"]: row for row in csv.DictReader(table)}
    found = [rows[str(image)] for image in images]
    maps = [np.load(out / row["map"] if not Path(row["map"]).is_absolute() else row["map"]) if row["map"] else None for row in found]
    return [float(row["score"]) for row in found], [row["verdict"] == "anomalous" for row in found], maps


def run_all(run, images):
    """Outputs of images one by one, which are given in batches where they are of one size."""
    outputs = []
    batch = BATCH if len({image.shape for image in images}) == 1 else 1
    for first in range(0, len(images), batch):
        found = run(np.stack(images[first : first + batch]))
        outputs += [{name: values[i] for name, values in found.items()} for i in range(len(found["score"]))]
    return outputs


def differences(outputs, scores, anomalous, maps, about):
    score = max(abs(float(found["score"]) - ours) / ours for found, ours in zip(outputs, scores))
    verdicts = sum(bool(found["anomalous"]) != ours for found, ours in zip(outputs, anomalous)) if "anomalous" in outputs[0] else None
    heatmap = None
    if "map" in outputs[0]:
        # In units of the heatmap's scale; fcdd has the map of an image of any size at that size.
        if all(found["map"].shape == ours.shape for found, ours in zip(outputs, maps)):
            distance = max(float(np.abs(found["map"] - ours).max()) for found, ours in zip(outputs, maps))
            heatmap = distance / float(about["heatmap_range"])
    return {"score": score, "heatmap": heatmap, "verdicts": verdicts}


def processor_ms(fcdd, model, path, given, images, temporary):
    """Milliseconds of a processor per image, of one thread: what else the machine does hardly changes them. Of fcdd decoding is part."""
    taken = {}
    few = len(given) // 4
    for name, runtime in RUNTIMES.items():
        run = runtime(path, 1)
        run_all(run, images[:BATCH])
        begun = time.process_time()
        run_all(run, images)
        taken[name] = (time.process_time() - begun) / len(images)
    children = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

    def own(some):
        begun = children()
        command = [fcdd, "--threads", "1", "predict", model, "-", "--out", temporary / f"timed{len(some)}", "--what", "scores", "--no-input-check", "--device", "cpu"]
        names = "\n".join(map(str, some))
        subprocess.run([str(word) for word in command], check=True, input=names, text=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return children() - begun

    # Without what it takes to begin.
    taken["fcdd"] = (own(given) - own(given[:few])) / (len(given) - few)
    return {name: 1000 * seconds for name, seconds in taken.items()}


def measure(fcdd, model, folder, count, threads, timed):
    files = evenly(sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in KINDS and "ground_truth" not in path.parts), count)
    rows, timings = [], []
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        for kind, flags in [("net's size", []), ("any size", ["--with-resize"])]:
            path = temporary / f"{len(rows)}.onnx"
            made = subprocess.run([fcdd, "export", model, "--onnx", path, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if made.returncode:
                print(f"{model} {kind}: {made.stderr.strip()}", file=sys.stderr)
                continue
            about, graph = check(path)
            channels = graph.graph.input[0].type.tensor_type.shape.dim[3].dim_value
            side = int(about["image_side"])
            given, images = [], []
            for i, file in enumerate(files):
                # Decoders of JPEG differ by single levels: both sides read what Pillow has decoded.
                image = Image.open(file).convert("L" if channels == 1 else "RGB")
                image = image if flags else image.resize((side, side), Image.BILINEAR)
                given.append(temporary / f"{i}.png")
                image.save(given[-1])
                images.append(as_samples(image, channels))
            ours = by_fcdd(fcdd, model, given, temporary / f"out{len(flags)}", threads)
            runs = {name: runtime(path, threads) for name, runtime in RUNTIMES.items()}
            row = {"net": about["net"], "side": side, "images": kind, "count": len(files)}
            for name, run in runs.items():
                found = {**row, "runtime": name, **differences(run_all(run, images), *ours, about)}
                rows.append(found)
                print(json.dumps(found), file=sys.stderr)
            if timed and not flags:
                timings.append({**row, "taken": processor_ms(fcdd, model, path, given, images, temporary)})
    return rows, timings


def table(rows, timings):
    lines = ["| net | side | images | runtime | score, relative | heatmap | other verdicts |", "| --- | ---: | --- | --- | ---: | ---: | ---: |"]
    shown = lambda value, form: "" if value is None else format(value, form)
    for row in rows:
        lines.append(
            f"| `{row['net']}` | {row['side']} | {row['count']}, {row['images']} | {row['runtime']} | {row['score']:.1e} "
            f"| {shown(row['heatmap'], '.1e')} | {shown(row['verdicts'], 'd')} |"
        )
    if timings:
        names = [*RUNTIMES, "fcdd"]
        lines += ["", "| net | side | " + " | ".join(names) + " |", "| --- | ---: |" + " ---: |" * len(names)]
        for row in timings:
            cells = " | ".join(f"{row['taken'][name]:.3g}" for name in names)
            lines.append(f"| `{row['net']}` | {row['side']} | {cells} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL=DIR")
    parser.add_argument("--fcdd", default="fcdd")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--untimed", action="store_true")
    given = parser.parse_args()
    print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__}", file=sys.stderr)
    pairs = [pair.split("=", 1) for pair in given.models]
    rows, timings = [], []
    for model, folder in pairs:
        found, timed = measure(given.fcdd, model, folder, given.images, given.threads, not given.untimed)
        rows, timings = rows + found, timings + timed
        given.out.write_text(table(rows, timings))


if __name__ == "__main__":
    main()
