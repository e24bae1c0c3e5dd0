"""The GigE camera that Aravis fakes: a program that answers on the loopback network, as a camera would on a cable."""

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import system_gi

from edgecell import clock

PROGRAM = shutil.which("arv-fake-gv-camera-0.8")
LOCK = Path(tempfile.gettempdir()) / "edgecell-fake-gige.lock"
"""The network has one port for the control of a camera, so the tests of one machine take turns."""
PORT = ":0F74 "
"""3956, as /proc/net/udp has it."""
SERIAL = "EC01"
PATIENCE_NS = 20_000_000_000


class FakeCamera:
    """A cable to pull: start, stop."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, lost_per_thousand: int = 0) -> None:
        """lost_per_thousand: packets that do not arrive."""
        command = [str(PROGRAM), "--interface=127.0.0.1", f"--serial={SERIAL}", f"--gvsp-lost-ratio={lost_per_thousand}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = clock.monotonic_ns() + PATIENCE_NS
        while PORT not in Path("/proc/net/udp").read_text():
            assert self._process.poll() is None, "the fake camera ended"
            assert clock.monotonic_ns() < end, "the fake camera does not answer"
            clock.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


def look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out, where it was found before, the second that cameras have to answer when they are looked for."""
    aravis = system_gi.aravis()
    if SERIAL not in [aravis.get_device_serial_nbr(number) for number in range(aravis.get_n_devices())]:
        aravis.update_device_list()
    monkeypatch.setattr(aravis, "update_device_list", lambda: None)


@contextmanager
def attached() -> Iterator[FakeCamera]:
    """One that is started. Skips the test, with a reason, where it or Aravis is missing."""
    system_gi.aravis()
    if not PROGRAM:
        pytest.skip("needs arv-fake-gv-camera-0.8 (Debian: aravis-tools)")
    camera = FakeCamera()
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        camera.start()
        try:
            yield camera
        finally:
            camera.stop()
