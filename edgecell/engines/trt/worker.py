"""The process that builds one plan: `python -m edgecell.engines.trt.worker`, started by `edgecell.engines.trt.building`.

It reads a `BuildRequest` as JSON from stdin and writes JSON objects, one a line, to stdout: `progress`, and at the end `built`
or `failed`. Whatever the vendor's library prints goes to stderr, which is kept for the case that the process dies.
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass, field

from edgecell.clock import monotonic_ns
from edgecell.engines.trt import builder, driver, library
from edgecell.engines.trt.request import BuildRequest, ModelRefused
from edgecell.errors import EngineError, MissingDependency

_LEAST_NS = 100_000_000  # between two lines about the progress of one phase
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(slots=True)
class Channel:
    """Our stdout as it was, before the library's own printing was turned away from it. May be used by several threads:
    a short line is one write."""

    descriptor: int
    phase: str = ""
    due_ns: int = field(default=0)

    def progress(self, phase: str, step: int, steps: int) -> None:
        """Say where the build stands: every change of phase, but not every step of thousands."""
        now_ns = monotonic_ns()
        if phase != self.phase or now_ns >= self.due_ns:
            self.phase, self.due_ns = phase, now_ns + _LEAST_NS
            self.say("progress", phase=phase, step=step, steps=steps)

    def say(self, kind: str, **values: object) -> None:
        line = memoryview(json.dumps({"kind": kind, **values}).encode() + b"\n")
        while line:
            line = line[os.write(self.descriptor, line) :]


def main() -> int:
    """The exit code: 0, or that of the error that was reported."""
    _live_and_die_with_our_parent()
    channel = Channel(os.dup(sys.stdout.fileno()))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        request = BuildRequest.from_json(sys.stdin.buffer.read())
        channel.progress("looking for the driver", 0, 0)
        found = driver.look()
        channel.progress("loading TensorRT", 0, 0)
        outcome = builder.build(library.find(found), request, channel.progress)
    except (MissingDependency, EngineError) as error:
        parser_s = error.errors if isinstance(error, ModelRefused) else ()
        channel.say("failed", error=type(error).__name__, what=error.what, fix=error.fix, errors=parser_s)
        return error.exit_code
    channel.say(
        "built",
        version=outcome.version,
        layers=outcome.layers,
        timing_cache=outcome.timing_cache,
        warnings=list(outcome.warnings),
    )
    return 0


def _live_and_die_with_our_parent() -> None:
    """Ctrl-C is the parent's to answer, which then ends this process; should it die itself, nothing is left to build for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    ended = main()
    sys.stderr.flush()
    os._exit(ended)  # the plan is written: a library that would fail while it is taken down is not given the chance
