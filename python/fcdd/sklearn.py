"""FCDD as one of scikit-learn's outlier detectors.

>>> import numpy
>>> from fcdd.sklearn import FCDD
>>> good = numpy.random.default_rng(0).integers(90, 110, (16, 32, 32), numpy.uint8)
>>> model = FCDD(net="FCDD_CNN28", side=32, epochs=1, device="cpu").fit(good)
>>> model.predict(good).shape
(16,)
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.base import BaseEstimator, OutlierMixin  # type: ignore[import-untyped]
from sklearn.utils.validation import check_is_fitted  # type: ignore[import-untyped]

from fcdd import Detection, Detector, SettingError, train
from fcdd._settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["FCDD"]

# The settings that are parameters by their own names; `fit` is a method.
NAMES = [name for name in Settings.__annotations__ if name != "fit"]

Images = Union[Sequence[Any], npt.NDArray[Any]]


class FCDD(OutlierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Learns from good images, and tells those apart that are otherwise.

    Its parameters are the settings of `fcdd.train`, of which None is as if it were left out, and `device`; the setting `fit` is `image_fit` here. Images are a list of paths, arrays or
    images of Pillow, or one array of (images, height, width) or (images, height, width, channels); `fit` also takes a folder of good images.
    As of all outlier detectors here, scores are the lower the more anomalous an image is, and predictions are 1 for good and -1 for anomalous.
    """

    def __init__(
        self,
        *,
        device: Union[Literal["auto", "cpu", "cuda"], int] = "auto",
        image_fit: Optional[str] = None,
        **settings: Unpack[Settings],
    ) -> None:
        unknown = settings.keys() - set(NAMES)
        if unknown:
            raise TypeError(f"there is no parameter {', '.join(sorted(unknown))}")
        self.device = device
        self.image_fit = image_fit
        for name in NAMES:
            setattr(self, name, settings.get(name))

    def fit(self, X: Union[str, PathLike[str], Images], y: Optional[object] = None) -> Self:
        """Learns from good images; `y` is there for pipelines alone."""
        settings = {name: getattr(self, name) for name in NAMES}
        with tempfile.TemporaryDirectory() as scratch:
            folder = X if isinstance(X, (str, PathLike)) else _written(X, Path(scratch) / "images")
            model = Path(scratch) / "model.safetensors"
            train(folder, device=self.device, fit=self.image_fit, **settings).save(model)
            self.model_ = model.read_bytes()
        self._detector: Optional[Detector] = None
        self.offset_ = -self._loaded().threshold
        return self

    def score_samples(self, X: Images) -> npt.NDArray[np.float64]:
        """The scores of images, negated: the lower, the more anomalous."""
        return np.array([-detection.score for detection in self.detect(X)], dtype=np.float64)

    def decision_function(self, X: Images) -> npt.NDArray[np.float64]:
        """The same, below 0 for anomalous images."""
        scores: npt.NDArray[np.float64] = self.score_samples(X) - self.offset_
        return scores

    def predict(self, X: Images) -> npt.NDArray[np.int64]:
        """1 for good images, -1 for anomalous ones."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def detect(self, X: Images) -> list[Detection]:
        """All that is found in images: their heatmaps too."""
        check_is_fitted(self, "model_")
        return self._loaded().detect(list(X))

    def _loaded(self) -> Detector:
        if self._detector is None:
            with tempfile.TemporaryDirectory() as scratch:
                model = Path(scratch) / "model.safetensors"
                model.write_bytes(self.model_)
                self._detector = Detector.load(model, device=self.device)
        return self._detector

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: None if name == "_detector" else value for name, value in state.items()}


# What scikit-learn reads the parameters from.
FCDD.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default="auto"),
        *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in ["image_fit", *NAMES]),
    ]
)


def _written(images: Images, folder: Path) -> Path:
    """A folder with these images: as they are if they are files, else written."""
    folder.mkdir()
    for number, image in enumerate(images):
        if isinstance(image, (str, PathLike)):
            file = Path(image).resolve()
            (folder / f"{number:06}{file.suffix}").symlink_to(file)
            continue
        if not isinstance(image, Image.Image):
            array = np.asarray(image)
            if array.dtype.kind == "f":
                if not np.all((array >= 0) & (array <= 1)):
                    raise SettingError(
                        "floating-point samples that are not from 0 to 1",
                        "divide them by the largest value that the camera gives",
                    )
                array = np.rint(array * 255).astype(np.uint8)
            if array.dtype == np.uint16 and array.ndim == 3 and array.shape[2] > 1:
                raise SettingError(
                    "images in colour with samples of 16 bits, which Pillow does not write",
                    "give the paths of their files, or samples of 8 bits",
                )
            image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
        image.save(folder / f"{number:06}.png")
    return folder
