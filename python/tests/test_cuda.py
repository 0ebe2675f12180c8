"""The same on a GPU, or in the stand-in of its driver; without either, what is missing is said."""

import os

import pytest

import fcdd
from conftest import SMALL

HAS_GPU = os.environ.get("FCDD_PYTHON_CUDA") == "1"


@pytest.mark.skipif(not HAS_GPU, reason="FCDD_PYTHON_CUDA=1 says that there is a GPU")
def test_a_gpu_finds_what_the_cpu_finds(detector, run, parts, dent, good):
    on_gpu = fcdd.Detector.load(run, device="cuda")
    for here, there in zip(detector.detect([dent, good]), on_gpu.detect([dent, good])):
        assert there.score == pytest.approx(here.score, rel=1e-4) and there.verdict == here.verdict
        assert there.heatmap() == pytest.approx(here.heatmap(), abs=1e-4)
    trained = fcdd.train(parts, epochs=1, **{**SMALL, "device": 0})
    assert trained.history[0]["loss"] == pytest.approx(fcdd.train(parts, epochs=1, **SMALL).history[0]["loss"], rel=1e-3)
    assert fcdd.evaluate(run, device="cuda")["image_auroc"] == fcdd.evaluate(run, device="cpu")["image_auroc"]


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_is_missing(run):
    with pytest.raises(fcdd.CudaError) as raised:
        fcdd.Detector.load(run, device="cuda")
    assert raised.value.remedy.endswith("choose `device` cpu")
    fcdd.Detector.load(run, device="auto")
