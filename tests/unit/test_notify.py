"""What systemd hears, over real datagram sockets."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from still_run import Bench, Clock, Finder, fresh, standing

from edgecell import clock
from edgecell.messages import Frame, Segmentation
from edgecell.runtime.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd's, and its address as in NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@edgecell-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(address.replace("@", "\0"))
        yield listening, address


def heard(listening: socket.socket) -> list[str]:
    said = []
    with suppress(BlockingIOError):
        while True:
            said.append(listening.recv(4096).decode())
    return said


def test_a_run_says_that_it_is_ready_alive_and_stopping(
    systemd: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, address = systemd
    time = standing(monkeypatch)
    bench = Bench(time, [each for index in range(5) for each in (*fresh(index), 0.5)])
    bench.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
    bench.run()
    said = heard(listening)
    assert said[0] == "READY=1"
    assert said.count("STATUS=running") == 1
    assert said.count("STOPPING=1") == 1
    assert said[-1] == "STATUS=stopped"
    assert said.count("WATCHDOG=1") == 3  # at once and each second of 2.5: twice as often as asked for


def test_a_stage_that_hangs_keeps_the_watchdog_hungry(
    systemd: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop looks around while the segmenter is at one frame for longer than hang_s."""
    listening, address = systemd
    time = standing(monkeypatch)
    bench = Bench(time, fresh(0, 1, 2), hang_s=5)
    bench.environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"}
    said: list[list[str]] = []

    class Hanging(Finder):
        def segment(self, frame: Frame) -> Segmentation:
            if frame.index == 1:
                heard(listening)
                time.wait(6)
                bench.nudge()
                said.append(heard(listening))
            return super().segment(frame)

    bench.segmenter = Hanging(time, 0)
    bench.run()
    (while_it_hung,) = said
    assert len(while_it_hung) == 1
    assert while_it_hung[0].startswith("STATUS=degraded: detect hangs: 6 s at frame 1")
    assert "WATCHDOG=1" in heard(listening)


def test_without_a_socket_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Clock()
    monkeypatch.setattr(clock, "monotonic_ns", time.monotonic_ns)
    notifier = Notifier({})
    notifier.ready()
    notifier.alive()


def test_without_a_watchdog_it_is_not_fed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        notifier.alive()
        notifier.status("all\nis well")
        assert heard(listening) == ["STATUS=all is well"]


def test_a_socket_that_is_gone_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()
    assert "systemd cannot be told READY=1: No such file" in caplog.text
