"""Builds a plan in a process of its own, so that neither a crash of the vendor's library nor its memory is ours."""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edgecell.clock import monotonic_ns
from edgecell.engines.trt.request import BuildRequest, Built, ModelRefused, Progress
from edgecell.errors import EngineBuildError, EngineError, MissingDependency
from edgecell.files import partial

_LOG = logging.getLogger("edgecell.tensorrt")
WORKER = "edgecell.engines.trt.worker"
_ERRORS = {each.__name__: each for each in (MissingDependency, EngineError, EngineBuildError)}
_LAST_WORDS = 500  # characters of what a process that died said last
_READ_BYTES = 1 << 16
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def build(request: BuildRequest, on_progress: Callable[[Progress], None], tick_s: float = 1.0) -> Built:
    """Build `request.plan`, telling on_progress what goes on, at least once in tick_s seconds.

    Raises MissingDependency without a driver or TensorRT, ModelRefused for the parser's errors, which are also logged one by
    one, EngineBuildError when there is no plan at the end: why, or how the process died. However it ends, the process is gone
    when this returns or raises.
    """
    _make_room(request)
    listener = _Listener(on_progress, tick_s)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
        stdin.write(request.to_json().encode())
        stdin.seek(0)
        try:
            code = _run(listener, stdin, stderr, _environment(request.device))
        finally:
            for path in (request.plan, request.timing_cache or request.plan):
                partial(path).unlink(missing_ok=True)
        return _answer(listener, code, stderr, request)


def _make_room(request: BuildRequest) -> None:
    """Folders for what will be written. Raises EngineBuildError."""
    try:
        for path in (request.plan, request.timing_cache or request.plan):
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "set `cache` under [engine] to a folder that the user may write"
        raise EngineBuildError(f"no folder for the plan: {error}", fix=fix) from error


def _run(listener: "_Listener", stdin: IO[bytes], stderr: IO[bytes], environment: dict[str, str]) -> int:
    """The process's return code. It is gone however this ends."""
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as stdout:
        try:
            command = [sys.executable, "-m", WORKER]
            process = subprocess.Popen(command, stdin=stdin, stdout=write, stderr=stderr, env=environment, cwd="/")  # noqa: S603
        finally:
            os.close(write)
        try:
            listener.listen(stdout)
            return process.wait()
        finally:
            process.kill()
            process.wait()


@dataclass(slots=True)
class _Listener:
    """Reads what the process says, a JSON object a line, and passes progress on; ticks while it says nothing."""

    on_progress: Callable[[Progress], None]
    tick_s: float
    phase: str = "starting"
    step: int = 0
    steps: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    """The process's last message, if it was `built` or `failed`."""
    began_ns: int = field(default_factory=monotonic_ns)
    due_ns: int = 0
    """When on_progress is called next, at the latest."""

    def listen(self, stdout: IO[bytes]) -> None:
        """Return when the process has closed its output."""
        waiting = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while True:
                if monotonic_ns() >= self.due_ns:
                    self._tell()
                if not selector.select(max(0.0, (self.due_ns - monotonic_ns()) / 1e9)):
                    continue
                piece = os.read(stdout.fileno(), _READ_BYTES)
                if not piece:
                    return
                *lines, waiting = (waiting + piece).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))

    def elapsed_s(self) -> float:
        return (monotonic_ns() - self.began_ns) / 1e9

    def _tell(self) -> None:
        self.due_ns = monotonic_ns() + int(self.tick_s * 1e9)
        self.on_progress(Progress(elapsed_s=self.elapsed_s(), phase=self.phase, step=self.step, steps=self.steps))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["kind"] == "progress":
            self.phase, self.step, self.steps = str(message["phase"]), int(message["step"]), int(message["steps"])
            self.due_ns = 0
        else:
            self.last = message


def _answer(listener: _Listener, code: int, stderr: IO[bytes], request: BuildRequest) -> Built:
    """What the process's last message and its return code come to."""
    last = listener.last
    if code == 0 and last.get("kind") == "built":
        if last["timing_cache"] == "refused":
            _LOG.warning("%s is not of this TensorRT and device: the timing cache was begun anew", request.timing_cache)
        return Built(
            seconds=listener.elapsed_s(),
            version=str(last["version"]),
            layers=int(last["layers"]),
            timing_cache=last["timing_cache"],
            warnings=tuple(last["warnings"]),
        )
    if last.get("kind") == "failed":
        raise _failure(last)
    what = f"TensorRT's building process {_death(code)} while {listener.phase} ({request.precision}, {request.model})"
    words = _last_words(stderr)
    raise EngineBuildError(f"{what}; it said last: {words}" if words else what, fix=_fix(code, request))


def _failure(message: dict[str, Any]) -> EngineError | MissingDependency:
    """The error that the process met. What the parser said of each node, which may be long, is logged line by line."""
    kind, what, fix, errors = (message[each] for each in ("error", "what", "fix", "errors"))
    if kind != ModelRefused.__name__:
        return _ERRORS[kind](what, fix=fix)
    for each in errors:
        _LOG.error("TensorRT: %s", each)
    return ModelRefused(what, fix=fix, errors=tuple(errors))


def _environment(device: int) -> dict[str, str]:
    """The building process finds what we find, whatever put it on our path, and sees the one device that is meant."""
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in sys.path)}
    visible = os.environ.get(_VISIBLE)
    if device == 0 and visible is None:
        return found
    names = [str(device)] * (device + 1) if visible is None else visible.split(",")
    if device >= len(names):
        raise EngineError(
            f"there is no device {device} in {_VISIBLE}={visible}", fix="set `device` under [engine] to one of them"
        )
    return {**found, _VISIBLE: names[device]}


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
    return f"was killed ({name})" if -code in {signal.SIGKILL, signal.SIGTERM} else f"crashed ({name})"


def _last_words(stderr: IO[bytes]) -> str:
    """The end of what the process wrote to stderr, on one line."""
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4 * _LAST_WORDS))
    lines = [" ".join(line.split()) for line in stderr.read().decode("utf-8", "replace").splitlines()]
    return " | ".join(line for line in lines if line)[-_LAST_WORDS:]


def _fix(code: int, request: BuildRequest) -> str:
    if -code == signal.SIGKILL:
        return "the system was probably out of memory: end other programs, add swap, or lower `workspace_mib`"
    cache = f"remove {request.timing_cache}, " if request.timing_cache and request.timing_cache.exists() else ""
    return (
        f"{cache}try again with a lower `workspace_mib`; if it crashes again, run with `--engine onnxrt` and report this line"
    )
