"""What browsers that look on cost the frame path; what the page weighs, and how soon it shows a picture.

    python -m benchmarks.browsers
    python -m benchmarks.browsers --json > browsers.json

`edgecell serve` begins one run of the phantom slide at a camera's pace, with pictures kept and previews on. While it goes on,
nobody looks on, then so many clients that read every event and fetch every preview (browsers on other machines), then so many
windows of chromium on this machine; in turns, in another order each round. A figure is the median of its rounds, a ratio that
to nobody of the same round. Browsers on this machine take processor time of their own, which the latency shows, and the
processor time of the run's process does not.
"""

import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

import click
import msgspec
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from edgecell.client import Subscriber
from edgecell.messages import NOTICE
from edgecell.wire import CountsMessage

Crowd = Literal["nobody", "readers", "browsers"]
PATIENCE_S = 60.0
SETTLE = 2
"""Windows that are left out after a crowd has come."""
SIZE = (1024, 600)
SHOWN = "#preview:not([hidden])"
"""The live picture, once there is one."""
SETTINGS = '[source]\npart = "phantom"\nwidth = {width}\nheight = {height}\nfps = {fps}\n'


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A crowd for some windows. cpu_ms: processor time of the run's process a frame. fps: frames that were processed; dropped:
    that were not. p50_ms: median of the windows' medians, from capture to counts."""

    cpu_ms: float
    p50_ms: float
    fps: float
    dropped: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of the rounds; ratios to nobody: median, least and greatest."""

    crowd: Crowd
    cpu_ms: float
    cpu_ratio: tuple[float, float, float]
    p50_ms: float
    p50_ratio: tuple[float, float, float]
    fps: float
    dropped: int


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One load of the page. files, bytes: of it, as they came over the wire. picture_bytes: the first preview.

    picture_ms: from asking for the page until the live picture stands on it.
    """

    files: int
    bytes: int
    picture_bytes: int
    picture_ms: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="browsers/1"):
    size_px: tuple[int, int]
    fps: float
    lookers: int
    results: tuple[Result, ...]
    loads: tuple[Load, ...]
    notice: str = NOTICE


class Server:
    """`edgecell serve`, and the run that it began."""

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        sample: str = "phantom",
        operator: str = "benchmark",
        stop: Mapping[str, int] | None = None,
    ) -> None:
        self.bus = f"ipc://{folder}/bus"
        (folder / "bench.toml").write_text(settings, encoding="utf-8")
        words = ["--listen", "127.0.0.1:0", "--journal", str(folder / "journal"), "--bus", self.bus, "--json"]
        line = [sys.executable, "-m", "edgecell", "serve", str(folder / "bench.toml"), *words]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)  # noqa: S603 our own words
        self.url = json.loads(self.process.stdout.readline())["listening"] if self.process.stdout else ""
        self.address = urlsplit(self.url).netloc
        self._when_it_answers()
        asked = {"settings": "bench", "sample_id": sample, "operator": operator, "stop": stop, "crops": True, "preview": True}
        begun = json.loads(self.ask("POST", "/api/run", asked))
        self.pid, self.run_id = int(begun["pid"]), str(begun["run_id"])

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {said.decode(errors='replace')}")
        return said

    def close(self) -> None:
        """The run first: it would outlive its server."""
        if self._goes_on():
            self.ask("DELETE", "/api/run")
        deadline = time.monotonic() + PATIENCE_S
        while self._goes_on() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        if self.process.stdout:
            self.process.stdout.close()

    def _goes_on(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").exists()

    def cpu_s(self) -> float:
        """Of the run's process, all its threads."""
        words = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _when_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody answers at {self.url}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("GET", "/api/me"))
        except OSError:
            return False


class Reader:
    """One that reads all events and fetches all pictures, and draws nothing."""

    def __init__(self, server: Server) -> None:
        self._server, self._over = server, False
        self._connection = http.client.HTTPConnection(server.address, timeout=PATIENCE_S)
        self._thread = threading.Thread(target=self._read)
        self.pictures = 0

    def __enter__(self) -> "Reader":
        self._connection.request("GET", "/api/live")
        self._events = self._connection.getresponse()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(PATIENCE_S)
        self._connection.close()

    def _read(self) -> None:
        while not self._over and (line := self._events.readline()):
            if line.startswith(b"data: ") and b'"picture":"' in line:
                self._server.ask("GET", json.loads(line[6:])["picture"])
                self.pictures += 1


@contextmanager
def looking_on(crowd: Crowd, lookers: int, server: Server, browser: Browser) -> Iterator[None]:
    """Everybody is there, and has a picture."""
    with ExitStack() as there:
        if crowd == "readers":
            readers = [there.enter_context(Reader(server)) for _ in range(lookers)]
            while not all(reader.pictures for reader in readers):
                time.sleep(0.05)
        for _ in range(lookers if crowd == "browsers" else 0):
            page = there.enter_context(opened(browser))
            page.goto(server.url)
            page.wait_for_selector(SHOWN)
        yield


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    """A page with a cache of its own."""
    context = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]})
    context.set_default_timeout(1000 * PATIENCE_S)
    try:
        yield context.new_page()
    finally:
        context.close()


def turn(bus: Subscriber, server: Server, windows: int) -> Turn:
    while bus.receive(0) is not None:
        pass  # what was said before everybody was there
    for _ in range(SETTLE):
        first = next_counts(bus)
    began_s, began_cpu = time.monotonic(), server.cpu_s()
    heard = [next_counts(bus) for _ in range(windows)]
    cpu_s, took_s = server.cpu_s() - began_cpu, time.monotonic() - began_s
    frames = heard[-1].frames.processed - first.frames.processed
    return Turn(
        cpu_ms=1000 * cpu_s / frames,
        p50_ms=statistics.median(each.latency_ms.p50 for each in heard if each.latency_ms),
        fps=frames / took_s,
        dropped=heard[-1].frames.dropped - first.frames.dropped,
    )


def next_counts(bus: Subscriber) -> CountsMessage:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        message = bus.receive(PATIENCE_S)
        if isinstance(message, CountsMessage):
            return message
    raise RuntimeError("the run counts no more")


def load(browser: Browser, url: str) -> Load:
    """The page, opened anew."""
    with opened(browser) as page:
        wire = page.context.new_cdp_session(page)
        sizes, paths = _sizes(wire), dict[str, str]()
        wire.on(
            "Network.responseReceived",
            lambda event: paths.update({event["requestId"]: urlsplit(event["response"]["url"]).path}),
        )
        page.goto(url)
        page.wait_for_selector(SHOWN)
        took = float(page.evaluate("performance.now()"))
        weighed = {paths.get(number, ""): size for number, size in sizes.items()}
    files = {path: size for path, size in weighed.items() if not path.startswith("/api/")}
    pictures = [size for path, size in weighed.items() if path.startswith("/api/preview/")]
    return Load(files=len(files), bytes=sum(files.values()), picture_bytes=pictures[0], picture_ms=took)


def _sizes(wire: CDPSession) -> dict[str, int]:
    """Bytes of everything that comes, headers included, by the request's number."""
    found: dict[str, int] = {}
    wire.on("Network.loadingFinished", lambda event: found.update({event["requestId"]: round(event["encodedDataLength"])}))
    wire.send("Network.enable")
    return found


def compared(rounds: Sequence[Mapping[Crowd, Turn]]) -> tuple[Result, ...]:
    def ratio(crowd: Crowd, what: str) -> tuple[float, float, float]:
        found = [getattr(each[crowd], what) / getattr(each["nobody"], what) for each in rounds]
        return statistics.median(found), min(found), max(found)

    return tuple(
        Result(
            crowd=crowd,
            cpu_ms=statistics.median(each[crowd].cpu_ms for each in rounds),
            cpu_ratio=ratio(crowd, "cpu_ms"),
            p50_ms=statistics.median(each[crowd].p50_ms for each in rounds),
            p50_ratio=ratio(crowd, "p50_ms"),
            fps=statistics.median(each[crowd].fps for each in rounds),
            dropped=sum(each[crowd].dropped for each in rounds),
        )
        for crowd in get_args(Crowd)
    )


def table(found: Outcome) -> str:
    width, height = found.size_px
    lines = [
        f"phantom slide {width}x{height}, {found.fps:g} frames/s asked for, {found.lookers} lookers",
        "",
        "| looking on | processor ms a frame | ratio (least - most) | p50 ms | ratio (least - most) | frames/s | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found.results:
        cpu, p50 = (f"{middle:.2f} ({low:.2f} - {high:.2f})" for middle, low, high in (each.cpu_ratio, each.p50_ratio))
        lines.append(
            f"| {each.crowd} | {each.cpu_ms:.1f} | {cpu} | {each.p50_ms:.0f} | {p50} | {each.fps:.1f} | {each.dropped} |"
        )
    took = sorted(each.picture_ms for each in found.loads)
    first = found.loads[0]
    weight = f"{first.files} files, {first.bytes / 1024:.0f} KiB over the wire"
    least, most = f"{took[0]:.0f}", f"{took[-1]:.0f} ms in {len(took)} loads"
    lines.append(f"\nThe page: {weight}; its first picture {first.picture_bytes / 1024:.0f} KiB,")
    lines.append(f"which stands there after {statistics.median(took):.0f} ms ({least} - {most}).")
    return "\n".join(lines)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--windows", type=click.IntRange(min=2), default=8, show_default=True, help="Windows of a second in each turn.")
@click.option("--lookers", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--loads", type=click.IntRange(min=1), default=9, show_default=True, help="Times that the page is opened anew.")
@click.option("--fps", type=click.FloatRange(min=1), default=8.0, show_default=True)
@click.option("--size", "size_px", type=(int, int), default=(640, 480), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(rounds: int, windows: int, lookers: int, loads: int, fps: float, size_px: tuple[int, int], as_json: bool) -> None:
    """Time the frame path with nobody, 5 readers and 5 browsers looking on; weigh the page."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise click.ClickException("chromium is not installed: apt install chromium")
    done: list[dict[Crowd, Turn]] = []
    with ExitStack() as there:
        folder = Path(there.enter_context(tempfile.TemporaryDirectory(prefix="browsers-")))
        server = Server(folder, SETTINGS.format(width=size_px[0], height=size_px[1], fps=fps))
        there.callback(server.close)
        bus = there.enter_context(Subscriber(server.bus))
        playwright = there.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        there.callback(browser.close)
        weighed = tuple(load(browser, server.url) for _ in range(loads))
        for number in range(rounds):
            crowds: Sequence[Crowd] = get_args(Crowd)
            found: dict[Crowd, Turn] = {}
            for crowd in random.Random(number).sample(crowds, len(crowds)):
                with looking_on(crowd, lookers, server, browser):
                    found[crowd] = turn(bus, server, windows)
            done.append(found)
            click.echo(f"round {number + 1} of {rounds}", err=True)
    outcome = Outcome(size_px=size_px, fps=fps, lookers=lookers, results=compared(done), loads=weighed)
    click.echo(msgspec.json.encode(outcome) if as_json else f"{table(outcome)}\n{NOTICE}")


if __name__ == "__main__":
    main()
