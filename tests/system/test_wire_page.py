"""The program in deploy/wire.md, compiled as it stands there, against a real device: every message once and in order."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from bus_keys import Keys
from bus_station import Station, message

from edgecell.bus import replay
from edgecell.wire import CountsMessage, from_wire, schema_files

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy" / "wire.md"
PATIENCE_S = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program, linked with the libzmq that pyzmq brought."""
    libraries = list((Path(zmq.__file__).parents[1] / "pyzmq.libs").glob("libzmq*.so*"))
    if not shutil.which("gcc") or not libraries:
        pytest.skip("needs gcc, and a pyzmq that brought its libzmq")
    folder = tmp_path_factory.mktemp("reader")
    (program,) = blocks("c")
    (folder / "reader.c").write_text(program)
    header = ROOT / "tests" / "stand_ins" / "libzmq"
    line = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{header}", "reader.c", str(libraries[0]), "-o", "reader"]
    subprocess.run([*line, f"-Wl,-rpath,{libraries[0].parent}"], cwd=folder, check=True)
    return folder / "reader"


@pytest.fixture(params=["open", "curve"])
def words(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Station, list[str]]]:
    """A device, and the words that the program is called with."""
    if request.param == "open":
        with Station(pause_s=0, high_water=20) as station:
            yield station, [station.endpoint, station.publisher.replay_endpoint]
    else:
        keys = Keys(tmp_path)
        with Station(pause_s=0, high_water=20, server_key=keys.device, allow=keys.allow) as station:
            own = [str(keys.listener("reader")), str(keys.device_public)]
            yield station, [station.endpoint, station.publisher.replay_endpoint, *own]


def printed(path: Path) -> list[CountsMessage]:
    """Whole lines only: it may be writing one."""
    messages = [from_wire(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert all(isinstance(each, CountsMessage) for each in messages)
    return [each for each in messages if isinstance(each, CountsMessage)]


def wait_for(path: Path, messages: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while path.stat().st_size == 0 or path.read_bytes().count(b"\n") < messages:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)


def test_the_reader_in_c_lacks_nothing_after_a_long_sleep(
    reader: Path, words: tuple[Station, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped while thousands of messages go by, and meets the limit on requests when it catches up."""
    monkeypatch.setattr(replay, "RATE", 25.0)
    monkeypatch.setattr(replay, "BURST", 1.0)
    station, arguments = words
    with (tmp_path / "out").open("wb") as out, subprocess.Popen([reader, *arguments], stdout=out) as process:
        try:
            wait_for(tmp_path / "out", 5, process)
            process.send_signal(signal.SIGSTOP)
            station.until(station.sent + 8000)
            process.send_signal(signal.SIGCONT)
            seen = len(printed(tmp_path / "out"))
            station.pause_s = 0.01
            wait_for(tmp_path / "out", seen + 8000, process)
        finally:
            process.kill()
    heard = printed(tmp_path / "out")
    first = heard[0].sequence
    assert [each.sequence for each in heard] == list(range(first, first + len(heard)))
    assert len(heard) > 8000
    for each in heard:
        made = message(each.sequence, "run-a")
        assert (each.cumulative, each.cells_total, each.sample_id) == (made.cumulative, made.cells_total, "")
    assert station.publisher._desk is not None
    assert station.publisher._desk.served > 10  # it did fetch
    assert station.publisher.refused  # and was told to wait


def test_the_page_names_every_topic_and_every_limit_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in schema_files():
        assert (
            f"`{name.removesuffix('.json').replace('-', '/')}`" in text
            or f'"{name.removesuffix(".json").replace("-", "/")}"' in text
        )
    assert f"{replay.PAGE_BYTES >> 10} KiB at most" in text
    assert f"more than {replay.RATE:g}\nrequests" in text
    assert f"{replay.MAX_REQUEST_BYTES} bytes" in text
    for example in blocks("json"):
        json.loads(example)
