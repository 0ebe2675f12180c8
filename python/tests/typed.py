"""What type checkers make of the package; `mypy --strict` reads it, nothing runs it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import fcdd

detector = fcdd.Detector.load(Path("run"), device=0, unsure=(0.4, 0.6))
assert_type(detector.pixel_threshold, "float | None")
image = np.zeros((4, 4), np.uint8)
assert_type(detector.detect(image), fcdd.Detection)
assert_type(detector.detect([image, "part.png", b""]), "list[fcdd.Detection]")
heatmap: npt.NDArray[np.float32] = detector.detect("part.png").heatmap()
try:
    detector.detect(Path("part.png"))
except fcdd.Error as error:
    assert_type(error.problem, str)
    assert_type(error.remedy, "str | None")
