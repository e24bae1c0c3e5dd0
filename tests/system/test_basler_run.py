"""`edgecell run` with a camera that Basler's SDK emulates, in a process of its own: frames, a signal, a clean end."""

import json
import signal
from pathlib import Path

import command_line
import pytest
from basler_emulation import emulated
from command_line import PATIENCE_S, Running, started
from pictures import field
from tiny_bundle import make_tiny_bundle

from edgecell import clock

SETTINGS = """
models = {{nucleated = "./tiny"}}
source = {{part = "basler", features = "camera.pfs", width = {width}, height = {height}, fps = {fps}}}
publisher = {{endpoint = "ipc://{folder}/bus"}}
run = {{window_s = 0.25, heartbeat_s = 0.25}}
"""


def wait_for_frames(running: Running, folder: Path, count: int) -> None:
    """Until so many frames are counted, by the messages that are complete in the output."""
    end = clock.monotonic_ns() + int(PATIENCE_S * 1e9)
    counted = 0
    while counted < count:
        assert clock.monotonic_ns() < end, (folder / "err").read_text()
        assert running.process.poll() is None, (folder / "err").read_text()
        clock.sleep(0.05)
        messages = [line for line in (folder / "out").read_text().splitlines(keepends=True) if line.endswith("\n")]
        counted = json.loads(messages[-1])["frames"]["processed"] if messages else 0


def test_an_emulated_camera_is_counted_until_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypylon", reason="Basler's SDK is not installed")
    monkeypatch.setitem(command_line.ENVIRONMENT, "PYLON_CAMEMU", "1")
    make_tiny_bundle(tmp_path / "tiny")
    options = emulated(tmp_path, [field(number) for number in range(3)])
    (tmp_path / "bench.toml").write_text(SETTINGS.format(folder=tmp_path, **{**options, "fps": 20}))
    with started("run", "bench.toml", "--json", folder=tmp_path) as running:
        wait_for_frames(running, tmp_path, 4)
        running.process.send_signal(signal.SIGTERM)
        ended = running.ended()
    assert (ended.code, "Traceback" in ended.err) == (0, False), ended.err
    frames = next(each["frames"] for each in reversed(ended.documents) if each["schema"] == "counts/1")
    assert frames["processed"] >= 4
    assert frames["in_flight"] == 0
    assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["gated"] + frames["failed"]
