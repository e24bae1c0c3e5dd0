"""TensorRT's logger: what the library says goes to edgecell's log, never to stderr by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from edgecell.engines.trt.vendor import TensorRt

if TYPE_CHECKING:
    import tensorrt


class Logger(Protocol):
    """A logger that TensorRT takes. It must outlive whatever was made with it."""

    def take(self) -> str:
        """The errors since the last call, on one line: what a refusal without a reason was about. "" if there were none."""


def make_logger(trt: TensorRt) -> Logger:
    """A logger for TensorRT, the package `trt`.

    Warnings become warnings of the log. Errors are kept for the exception that follows them, where they belong; the rest is
    for `--verbose`. Also called on threads of the library's own.
    """
    log = logging.getLogger("edgecell.tensorrt")
    severities = trt.ILogger.Severity
    grave = (severities.INTERNAL_ERROR, severities.ERROR)

    if TYPE_CHECKING:
        from tensorrt import ILogger
    else:
        ILogger = trt.ILogger  # noqa: N806

    class _Logger(ILogger):
        def __init__(self) -> None:
            ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            line = " ".join(msg.split())
            if severity in grave:
                self._errors.append(line)
            log.log(logging.WARNING if severity == severities.WARNING else logging.DEBUG, "TensorRT: %s", line)

        def take(self) -> str:
            errors, self._errors = self._errors, []
            return "; ".join(errors)

    return _Logger()
