"""`edgecell serve` as a process of its own, which can be killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from command_line import ENVIRONMENT

PATIENCE_S = 60.0


class Page:
    """The page over the journal in `folder`. url: as it was printed; origin: without what stands behind the port."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder, self._options = folder, tuple(map(str, options))
        self.bus = f"ipc://{folder}/bus"
        self.url = self.origin = ""
        self.process: subprocess.Popen[str] | None = None
        self._port = 0

    def start(self) -> None:
        """At any port the first time, at the same one from then on."""
        (self.folder / "journal").mkdir(exist_ok=True)
        where = ["--listen", f"127.0.0.1:{self._port}", "--journal", str(self.folder / "journal"), "--bus", self.bus]
        line = [sys.executable, "-m", "edgecell", "serve", *where, "--json", *self._options]
        with (self.folder / "err").open("ab") as errors:
            self.process = subprocess.Popen(
                line,
                cwd=self.folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, (self.folder / "err").read_text()
        self.url = json.loads(said)["listening"]
        parts = urlsplit(self.url)
        self.origin, self._port = f"{parts.scheme}://{parts.netloc}", parts.port or 0
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "err").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """As kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.origin}/api/me", timeout=PATIENCE_S).is_success
        except httpx.TransportError:
            return False


@contextmanager
def page_of(folder: Path, *options: object) -> Iterator[Page]:
    page = Page(folder, *options)
    page.start()
    try:
        yield page
    finally:
        page.kill()
        _end_runs(folder / "journal")


def _end_runs(journal: Path) -> None:
    """Runs outlive their server: those of a test that failed halfway too."""
    mark = f"--journal={journal}".encode()
    for lines in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended by itself meanwhile
            if mark in lines.read_bytes().split(b"\0"):
                os.kill(int(lines.parent.name), signal.SIGKILL)
