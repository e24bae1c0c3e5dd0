"""TensorRT's logger: what the library says goes to edgecell's log, never to stderr by itself."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from edgecell.engines.trt.vendor import TensorRt

if TYPE_CHECKING:
    import tensorrt


_MOST_ERRORS = 20
_LISTENERS: dict[object, Listener] = {}


def listener(trt: TensorRt) -> Listener:
    """The one listener to the package `trt`, kept as long as the process lives.

    TensorRT has one logger for all: while anything of it exists, it warns of a second one and goes on with the first, and its
    registry of plugins keeps that one for good. A logger for each engine would warn whenever two are open, hear nothing of the
    second, and be gone under the library when the first is closed.
    """
    return _LISTENERS.setdefault(trt, Listener(trt))  # in one step: two threads may open their engines at once


class Listener:
    """What TensorRT, the package `trt`, has to say. logger: for what is made with it.

    Warnings become warnings of the log. Errors are kept for the exception that follows them, where they belong; the rest is
    for `--verbose`.
    """

    def __init__(self, trt: TensorRt) -> None:
        self._errors: deque[str] = deque(maxlen=_MOST_ERRORS)
        self.logger = _logger(trt, self._errors)

    def take(self) -> str:
        """The errors since the last call, on one line: what a refusal without a reason was about. "" if there were none.

        Engines of two threads that fail at the same moment may get each other's.
        """
        errors = "; ".join(self._errors)
        self._errors.clear()
        return errors


def _logger(trt: TensorRt, errors: deque[str]) -> tensorrt.ILogger:
    """Also called on threads of the library's own."""
    log = logging.getLogger("edgecell.tensorrt")
    severities = trt.ILogger.Severity
    grave = (severities.INTERNAL_ERROR, severities.ERROR)

    if TYPE_CHECKING:
        from tensorrt import ILogger
    else:
        ILogger = trt.ILogger  # noqa: N806

    class Logger(ILogger):
        def __init__(self) -> None:
            ILogger.__init__(self)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            line = " ".join(msg.split())
            if severity in grave:
                errors.append(line)
            log.log(logging.WARNING if severity == severities.WARNING else logging.DEBUG, "TensorRT: %s", line)

    return Logger()
