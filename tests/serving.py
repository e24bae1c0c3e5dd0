"""The page's server as a real process, and a browser's part of the talk with it."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from command_line import ENVIRONMENT, PATIENCE_S
from tiny_bundle import make_tiny_bundle

Event = tuple[str, dict[str, Any]]


def small_settings(folder: Path, **source: object) -> Path:
    """A file for a run of small drawn frames, labelled by a toy: begun within a second. source: options, None for no such."""
    make_tiny_bundle(folder / "tiny")
    told = {"width": 320, "height": 240, "fps": 20, **source}
    options = "".join(f"{name} = {value}\n" for name, value in told.items() if value is not None)
    file = folder / "bench.toml"
    file.write_text(
        f'device_id = "bench-3"\nmodels = {{nucleated = "./tiny"}}\nsegmenter = {{part = "stain"}}\n'
        f'run = {{window_s = 0.2, heartbeat_s = 0.2}}\n[source]\npart = "phantom"\n{options}'
    )
    return file


class Served:
    """A server that listens. url: of the page. folder: where its output lies."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path, verify: ssl.SSLContext | bool = True) -> None:
        self.process, self._folder = process, folder
        self.url = wait_for(lambda: self._told())["listening"]
        self.client = httpx.Client(base_url=self.url.partition("#")[0], timeout=PATIENCE_S, verify=verify)

    def _told(self) -> dict[str, Any]:
        text = (self._folder / "out").read_text()
        if self.process.poll() is not None:
            raise AssertionError((self._folder / "err").read_text())
        told: dict[str, Any] = json.loads(text) if text.endswith("\n") else {}
        return told

    @property
    def log(self) -> str:
        return (self._folder / "err").read_text()

    def asked(self, method: str, path: str, status: int, body: object = None) -> dict[str, Any]:
        answer = self.client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        told: dict[str, Any] = answer.json()
        return told

    @contextmanager
    def live(self) -> Iterator[Iterator[Event]]:
        """The events from now on, the last of each first."""
        with self.client.stream("GET", "/api/live") as answer:
            assert answer.status_code == 200
            yield _events(answer.iter_lines())

    def until(self, event: str, is_so: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """The first event of a kind of which that is so."""
        deadline = time.monotonic() + PATIENCE_S
        with self.live() as events:
            for name, told in events:
                if name == event and is_so(told):
                    return told
                assert time.monotonic() < deadline, (event, told, self.log)
        raise AssertionError(f"the server left: {self.log}")

    def until_run(self, state: str) -> dict[str, Any]:
        """The run, once it is in that state; which it must come to without failing first."""
        told = self.until("run", lambda run: run["state"] in (state, "failed"))
        assert told["state"] == state, told
        return told

    def ended(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(folder: Path, *arguments: object, verify: ssl.SSLContext | bool = True) -> Iterator[Served]:
    """`edgecell serve ARGUMENTS` with folder/journal and folder/bus, on any free port of this machine."""
    own = ["--json", "--listen", "127.0.0.1:0", "--journal", folder / "journal", "--bus", f"ipc://{folder}/bus"]
    line = [sys.executable, "-m", "edgecell", "serve", *map(str, [*own, *arguments])]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(line, cwd=folder, env=ENVIRONMENT, stdout=out, stderr=err)
    try:
        served = Served(process, folder, verify)
        with served.client:
            yield served
    finally:
        process.kill()
        process.wait()


def begun(served: Served, **changes: object) -> dict[str, Any]:
    """A run that publishes."""
    asked = {"settings": "bench", "sample_id": "slide-17", "operator": "Eva", **changes}
    run = served.asked("POST", "/api/run", 202, asked)
    assert served.until_run("running")["run_id"] == run["run_id"]
    return run


def wait_for(look: Callable[[], Any]) -> Any:
    """What it says once it says something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if said := look():
            return said
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def gone(pid: int) -> bool:
    """Whether that process has ended, also where nobody has asked for its exit code."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@contextmanager
def stopped_at_last(pid: int) -> Iterator[None]:
    """A run outlives its server, and must not outlive its test."""
    try:
        yield
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """A line without meaning is an event without a name: time goes on."""
    name = ""
    for line in lines:
        if line.startswith(":"):
            yield "", {}
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
