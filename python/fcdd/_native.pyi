from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, Optional, Union, overload

import numpy as np
import numpy.typing as npt
from PIL.Image import Image as PillowImage
from typing_extensions import TypeAlias, Unpack, final

from fcdd._settings import Dataset, Settings

_Path: TypeAlias = Union[str, PathLike[str]]
_Device: TypeAlias = Union[Literal["auto", "cpu", "cuda"], int]
_Image: TypeAlias = Union[_Path, bytes, npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.floating[Any]], PillowImage]
_Verdict: TypeAlias = Literal["good", "unsure", "anomalous", "unusable"]

__all__ = [
    "Detection",
    "Detector",
    "Event",
    "Region",
    "Trained",
    "__version__",
    "evaluate",
    "limit_image_memory",
    "resume",
    "run_program",
    "settings",
    "train",
]
__version__: str

@final
class Detector:
    @staticmethod
    def load(
        path: _Path,
        *,
        device: _Device = "auto",
        threshold: Optional[float] = None,
        pixel_threshold: Optional[float] = None,
        unsure: Optional[tuple[float, float]] = None,
        input_check: bool = True,
    ) -> Detector: ...
    @property
    def threshold(self) -> float: ...
    @property
    def pixel_threshold(self) -> Optional[float]: ...
    # A path is text, and that a sequence of texts.
    @overload
    def detect(self, images: _Image) -> Detection: ...  # type: ignore[overload-overlap]
    @overload
    def detect(self, images: Sequence[_Image]) -> list[Detection]: ...

@final
class Detection:
    @property
    def score(self) -> float: ...
    @property
    def normalized_score(self) -> float: ...
    @property
    def threshold(self) -> float: ...
    @property
    def verdict(self) -> _Verdict: ...
    @property
    def reasons(self) -> list[str]: ...
    @property
    def pixel_threshold(self) -> Optional[float]: ...
    def heatmap(self) -> npt.NDArray[np.float32]: ...
    def heatmap_image(self) -> npt.NDArray[np.uint8]: ...
    def map(self) -> npt.NDArray[np.float32]: ...
    def regions(self, pixel_threshold: Optional[float] = None, min_area: int = 1) -> list[Region]: ...

@final
class Region:
    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def area(self) -> int: ...
    @property
    def peak(self) -> float: ...
    @property
    def peak_x(self) -> int: ...
    @property
    def peak_y(self) -> int: ...
    @property
    def mean(self) -> float: ...
    @property
    def contour(self) -> list[tuple[int, int]]: ...

@final
class Event:
    @property
    def kind(self) -> Literal["progress", "finished", "note"]: ...
    @property
    def task(self) -> Optional[str]: ...
    @property
    def done(self) -> Optional[int]: ...
    @property
    def total(self) -> Optional[int]: ...
    @property
    def text(self) -> str: ...

@final
class Trained:
    @property
    def threshold(self) -> float: ...
    @property
    def history(self) -> list[dict[str, Any]]: ...
    def save(self, path: _Path) -> None: ...
    def detector(self, *, device: _Device = "auto") -> Detector: ...

def train(
    data: Optional[_Path] = None,
    *,
    dataset: Optional[Dataset] = None,
    out: Optional[_Path] = None,
    callback: Optional[Callable[[Event], object]] = None,
    device: _Device = "auto",
    **settings: Unpack[Settings],
) -> Trained: ...
def resume(
    run: _Path, *, callback: Optional[Callable[[Event], object]] = None, device: _Device = "auto"
) -> Trained: ...
def evaluate(
    model: _Path,
    data: Optional[_Path] = None,
    *,
    out: Optional[_Path] = None,
    skip_broken: bool = False,
    callback: Optional[Callable[[Event], object]] = None,
    device: _Device = "auto",
) -> dict[str, Any]: ...
def limit_image_memory(bytes: int) -> None: ...
def settings() -> list[tuple[str, str, list[str], str]]: ...
def run_program(words: Sequence[str]) -> int: ...
