"""What NVIDIA's driver and TensorRT say of themselves, asked in a process of its own.

A driver or library that does not fit can crash whoever asks, or never answer; a doctor must do neither.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from edgecell import app, plugins
from edgecell.automatic import ACCELERATED
from edgecell.engines.trt import driver, library, plans
from edgecell.engines.trt.plans import Machine
from edgecell.errors import EdgecellError

PATIENCE_S = 60.0
"""The first call of a driver may take ten seconds; one that has said nothing after a minute will not."""
GRACE_S = 2.0
"""For a killed process to be gone."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """name, compute_capability ("8.7"), memory_bytes: all of it; on a Jetson it is the machine's own memory."""

    name: str
    compute_capability: str
    memory_bytes: int


class Accelerators(msgspec.Struct, frozen=True, kw_only=True):
    """cuda: the version that the driver supports, "" without a driver; no_driver: why there is none. engine: version of what
    runs plans, "" where it cannot; no_engine: why not. machine: what plans made here are tied to."""

    cuda: str = ""
    no_driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    engine: str = ""
    no_engine: str = ""
    machine: Machine | None = None


def look() -> Accelerators:
    """Ask a child process, for PATIENCE_S at most. Raises nothing: what goes wrong is what the answer says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(each).absolute()) for each in sys.path)}
    command = [sys.executable, "-m", "edgecell.accelerators"]
    try:
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:  # a pipe could fill, or be held open
            asked = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=said)  # noqa: S603
            try:
                code = asked.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                _end(asked)
                return _dead(f"did not answer within {PATIENCE_S:.0f} s: restart the machine, install the driver again")
            return _answer(code, _content(told), _content(said))
    except OSError as error:
        return _dead(f"could not be asked: {error.strerror}")


def _end(asked: subprocess.Popen[bytes]) -> None:
    """One that is stuck inside the driver cannot be killed: it is left behind, for waiting would not end either."""
    asked.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        asked.wait(GRACE_S)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _answer(code: int, told: bytes, said: bytes) -> Accelerators:
    """What the child wrote, or how it ended."""
    if code < 0:
        name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
        return _dead(f"crashed when asked ({name}): install versions of driver, CUDA and TensorRT that belong together")
    try:
        return msgspec.json.decode(told.splitlines()[-1] if told else b"", type=Accelerators)
    except msgspec.DecodeError:
        words = " ".join(said.decode("utf-8", "replace").split())[-200:]
        return _dead(f"gave no answer (exit code {code}): {words}")


def _dead(what: str) -> Accelerators:
    return Accelerators(no_driver=f"driver or TensorRT {what}", no_engine=f"driver or TensorRT {what}")


def ask() -> Accelerators:
    """Look at driver and TensorRT in this process, which that may crash."""
    probe = plugins.load("engine", app.TABLES["engine"], ACCELERATED).probe()
    found = Accelerators(engine=probe.version if probe.usable else "", no_engine=probe.missing)
    try:
        there = driver.look()
    except EdgecellError as error:
        return msgspec.structs.replace(found, no_driver=f"{error.what}: {error.fix}")
    gpus = tuple(
        Gpu(name=each.name, compute_capability=each.compute_capability, memory_bytes=each.memory_bytes)
        for each in there.devices
    )
    found = msgspec.structs.replace(found, cuda=there.version, gpus=gpus)
    try:
        return msgspec.structs.replace(found, machine=plans.machine_of(there, library.find(there)))
    except EdgecellError:  # the probe has said it
        return found


if __name__ == "__main__":
    os.write(sys.stdout.fileno(), b"\n" + msgspec.json.encode(ask()) + b"\n")
