"""Folders and results as anomalib has them.

anomalib's MVTecAD layout is `fcdd`'s own: `fcdd.train(root / category)`. Folders of other names, as its `Folder` takes them, are arranged:

>>> import fcdd
>>> from fcdd.anomalib import arrange, prediction
>>> parts = arrange("arranged", "photos", normal_dir="ok", abnormal_dir="scratches", mask_dir="masks")
>>> trained = fcdd.train(parts, net="FCDD_CNN28", side=32, epochs=1, device="cpu")
>>> sorted(prediction(trained.detector(device="cpu").detect("part.png")))
['anomaly_map', 'pred_label', 'pred_mask', 'pred_score']
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Optional, TypedDict, Union

import numpy as np
import numpy.typing as npt

from fcdd import Detection, FileError, SettingError

__all__ = ["Prediction", "arrange", "prediction"]

Folders = Union[str, "PathLike[str]", Sequence[Union[str, "PathLike[str]"]]]

IMAGES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}


class Prediction(TypedDict):
    """What was found in an image, by anomalib's names."""

    pred_score: float
    """From 0 to 1, and 0.5 at the threshold."""
    pred_label: bool
    """Whether the score is above the threshold."""
    anomaly_map: npt.NDArray[np.float32]
    """As large as the image, in the units of the pixel threshold."""
    pred_mask: Optional[npt.NDArray[np.bool_]]
    """Where the map exceeds the pixel threshold; None of a model that knows none."""


def prediction(detection: Detection) -> Prediction:
    """A detection by anomalib's names."""
    anomaly_map, threshold = detection.map(), detection.pixel_threshold
    return Prediction(
        pred_score=detection.normalized_score,
        pred_label=detection.score > detection.threshold,
        anomaly_map=anomaly_map,
        pred_mask=None if threshold is None else anomaly_map > np.float32(threshold),
    )


def arrange(
    out: Union[str, PathLike[str]],
    root: Union[str, PathLike[str]],
    *,
    normal_dir: Folders,
    abnormal_dir: Folders = (),
    normal_test_dir: Folders = (),
    mask_dir: Folders = (),
) -> Path:
    """Makes a new folder `out` of links to the images of anomalib's `Folder`, in the layout that `fcdd` trains and evaluates with.

    Folders are below `root`, one or a list. Each of `abnormal_dir` is a kind of defect, and has its masks in that of `mask_dir` at the same place:
    they have the names of their images, or these with an underscore and more.
    """
    out, kinds, masks = Path(out), _folders(root, abnormal_dir), _folders(root, mask_dir)
    if out.exists():
        raise FileError(f"{out}: is there already", "choose another folder")
    if masks and len(masks) != len(kinds):
        raise SettingError(f"{len(masks)} `mask_dir` for {len(kinds)} `abnormal_dir`", "give one for each, or none")
    for place, folders in {"train/good": normal_dir, "test/good": normal_test_dir}.items():
        for folder in _folders(root, folders):
            for image in _images(folder):
                _link(image, out / place)
    for number, folder in enumerate(kinds):
        kind = "defect" if folder.name == "good" else folder.name
        for image in _images(folder):
            link = _link(image, out / "test" / kind)
            if masks:
                named = (mask for mask in _images(masks[number]) if f"{mask.stem}_".startswith(f"{image.stem}_"))
                mask = next(named, None)
                if mask is None:
                    raise FileError(f"{image}: has no mask in {masks[number]}", "add one, or leave `mask_dir` out")
                _link(mask, out / "ground_truth" / kind, f"{link.stem}_mask.png")
    return out


def _folders(root: Union[str, PathLike[str]], folders: Folders) -> list[Path]:
    return [Path(root, folder).resolve() for folder in ([folders] if isinstance(folders, (str, PathLike)) else folders)]


def _images(folder: Path) -> list[Path]:
    """The images of a folder, in the order of their names."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
    if not found:
        raise FileError(f"{folder}: holds no images", "check the spelling of the path")
    return found


def _link(image: Path, folder: Path, name: Optional[str] = None) -> Path:
    """A link to an image in a folder, by its name; with a number where that is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    link, number = folder / (name or image.name), 2
    while os.path.lexists(link):
        link, number = folder / f"{image.stem}-{number}{image.suffix}", number + 1
    link.symlink_to(image)
    return link
