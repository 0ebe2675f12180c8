"""A folder of parts, good ones and some with dents, and a model that has learned from the good ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcdd

# What is trained in a second.
SMALL = {"net": "FCDD_CNN28", "side": 32, "batch": 8, "device": "cpu"}


@pytest.fixture(scope="session")
def parts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "parts"
    draw = np.random.default_rng(0)
    for kind, count in {"train/good": 40, "test/good": 4, "test/dent": 4}.items():
        for number in range(count):
            light, contrast = draw.integers(90, 130), draw.integers(10, 40)
            image = draw.integers(light - contrast, light + contrast, (32, 32), dtype=np.uint8)
            mask = np.zeros_like(image)
            if kind == "test/dent":
                mask[10:20, 8 + number : 20 + number] = 255
                image[mask > 0] = light + draw.choice([-70, 70], np.count_nonzero(mask))
            save(image, folder / kind / f"{number:02}.png")
            if kind == "test/dent":
                save(mask, folder / "ground_truth/dent" / f"{number:02}_mask.png")
    return folder


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="session")
def run(parts, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    fcdd.train(parts, out=run, epochs=20, **SMALL)
    return run


@pytest.fixture(scope="session")
def detector(run) -> fcdd.Detector:
    return fcdd.Detector.load(run, device="cpu")


@pytest.fixture(scope="session")
def dent(parts) -> Path:
    return parts / "test/dent/00.png"


@pytest.fixture(scope="session")
def good(parts) -> Path:
    return parts / "test/good/00.png"


@pytest.fixture
def workplace(parts, run, dent, tmp_path, monkeypatch) -> Path:
    """The current folder as examples have it."""
    (tmp_path / "part.png").symlink_to(dent)
    (tmp_path / "run").symlink_to(run)
    (tmp_path / "parts").symlink_to(parts)
    (tmp_path / "good_parts").symlink_to(parts / "train/good")
    (tmp_path / "new_parts").symlink_to(parts / "test/dent")
    monkeypatch.chdir(tmp_path)
    return tmp_path
