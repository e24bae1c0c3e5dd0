"""TensorRT's logger: what the library says goes to edgecell's log, never to stderr by itself."""

import logging
from typing import Any, Protocol


class Logger(Protocol):
    """A logger that TensorRT takes. It must outlive whatever was made with it."""

    def take(self) -> str:
        """The errors since the last call, on one line: what a refusal without a reason was about. "" if there were none."""


def make_logger(trt: Any) -> Logger:
    """A logger for TensorRT, the package `trt`.

    Warnings become warnings of the log. Errors are kept for the exception that follows them, where they belong; the rest is
    for `--verbose`. Also called on threads of the library's own.
    """
    log = logging.getLogger("edgecell.tensorrt")
    severities = trt.ILogger.Severity
    grave = (severities.INTERNAL_ERROR, severities.ERROR)

    class _Logger(trt.ILogger):  # type: ignore[misc]  # the class is known when the library is
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            line = " ".join(msg.split())
            if severity in grave:
                self._errors.append(line)
            log.log(logging.WARNING if severity == severities.WARNING else logging.DEBUG, "TensorRT: %s", line)

        def take(self) -> str:
            errors, self._errors = self._errors, []
            return "; ".join(errors)

    return _Logger()
