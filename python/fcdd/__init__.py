"""Finds defects in images of parts and surfaces after seeing good ones only, and shows where.

>>> import fcdd
>>> detector = fcdd.Detector.load("run/model.safetensors")
>>> detection = detector.detect("part.png")
>>> detection.verdict
'anomalous'
>>> detection.heatmap().shape
(32, 32)
"""

from fcdd._errors import (
    CudaError,
    Error,
    FileError,
    InternalError,
    NumericError,
    OutOfMemoryError,
    SettingError,
)
from fcdd._native import (
    Detection,
    Detector,
    Event,
    Region,
    Trained,
    __version__,
    evaluate,
    limit_image_memory,
    resume,
    train,
)

__all__ = [
    "CudaError",
    "Detection",
    "Detector",
    "Error",
    "Event",
    "FileError",
    "InternalError",
    "NumericError",
    "OutOfMemoryError",
    "Region",
    "SettingError",
    "Trained",
    "__version__",
    "evaluate",
    "limit_image_memory",
    "resume",
    "train",
]
