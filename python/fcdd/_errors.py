"""Errors that say what was wrong, and what to do about it."""

from typing import Optional


class Error(Exception):
    """What went wrong. Its message is the problem and the remedy.

    >>> import fcdd
    >>> try:
    ...     fcdd.Detector.load("missing.safetensors")
    ... except fcdd.Error as error:
    ...     print(error.problem)
    ...     print(error.remedy)
    cannot read missing.safetensors: No such file or directory (os error 2)
    check the spelling of the path
    """

    problem: str
    """What was wrong, and where."""
    remedy: Optional[str]
    """What to do about it, as far as that is known."""

    def __init__(self, problem: str, remedy: Optional[str] = None) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return self.problem if self.remedy is None else f"{self.problem}; {self.remedy}"


class FileError(Error):
    """A file or folder that cannot be read or written, or does not hold what it should."""


class SettingError(Error, ValueError):
    """An argument or setting, or a combination of them, that cannot work."""


class CudaError(Error):
    """The GPU, its driver, or a kernel."""


class NumericError(Error):
    """Values that are NaN or infinite."""


class OutOfMemoryError(Error, MemoryError):
    """More memory than there is, of the machine or of the GPU."""


class InternalError(Error):
    """A bug of fcdd."""
