"""`edgecell watch` as a process of its own: what it prints, and how it ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bus_messages import counts_message, heartbeat

from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import to_wire

START = "from edgecell.cli.watch import command; command()"
PATIENCE_S = 30.0


@pytest.fixture
def publisher() -> Iterator[ZmqPublisher]:
    with ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*")) as publisher:
        yield publisher


def serve_until(done: Callable[[], bool], publisher: ZmqPublisher) -> None:
    """Answer what joins until that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"nothing within {PATIENCE_S} s"
        publisher.serve(0.05)


def start(publisher: ZmqPublisher, folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    line = [sys.executable, "-c", START, publisher.endpoint, *options]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(line, stdout=out, stderr=err)


def test_once_prints_one_json_line_of_counts_and_ends(publisher: ZmqPublisher, tmp_path: Path) -> None:
    publisher.publish(*to_wire(heartbeat()))
    publisher.publish(*to_wire(counts_message(5)))
    with start(publisher, tmp_path, "--once", "--json", "--timeout", "30") as process:
        serve_until(lambda: process.poll() is not None, publisher)
    assert (process.returncode, (tmp_path / "err").read_text()) == (0, "")
    (line,) = (tmp_path / "out").read_text().splitlines()
    assert json.loads(line)["sequence"] == 5


def test_silence_is_said_and_ctrl_c_ends_it_with_0(publisher: ZmqPublisher, tmp_path: Path) -> None:
    publisher.publish(*to_wire(counts_message(5)))
    with start(publisher, tmp_path, "--timeout", "0.3") as process:
        serve_until(lambda: "#5 bench-3 slide-17" in (tmp_path / "out").read_text(), publisher)
        serve_until(lambda: (tmp_path / "err").read_text().count("nothing received for") > 1, publisher)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert "Traceback" not in (tmp_path / "err").read_text()
