"""One slide's result: JSON lines in a file that is either whole or not there.

The first line says what it was made with, then comes a line for each image, and the last line holds the totals. Nothing in it
tells when, where or in how many processes it was made, so that the same slide gives the same bytes.

The file's time is set back to the moment at which its reading began. So an image whose time of change (which a copy cannot set
back) is older is the one that was read, and whether a result still holds takes no look into the images.
"""

import hashlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from calibration.reread.binding import Binding
from calibration.reread.slides import TOP, Slide
from edgecell.messages import NOTICE, Tally
from edgecell.wire import Model

FORMAT = "edgecell-reread/1"
SUFFIX = ".jsonl"
PART = ".part-"
_TAIL = 1 << 16  # bytes of the end that are read at first: the last line is mostly shorter


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """First line. models: what labelled the cells, with its engine."""

    format: str = FORMAT
    slide: str
    notice: str = NOTICE
    binding: Binding
    models: tuple[Model, ...]


class CellLine(msgspec.Struct, frozen=True, kw_only=True):
    """One cell. confidence: 0-1, None where nothing scored it. box_px: x0, y0, x1, y1, half-open."""

    kind: str
    label: str
    confidence: float | None
    decided: bool
    excluded: str | None
    box_px: tuple[int, int, int, int]


class ImageLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One image. sha256: of its file, "" if it could not be read. error: why it failed. gated: why it was not counted."""

    image: str
    sha256: str
    error: str = ""
    gated: str = ""
    pixel_um: float | None = None
    pixel_um_source: str = "unknown"
    domain: str = "known"
    counts: dict[str, int] = {}
    unsure: int = 0
    excluded: dict[str, int] = {}
    cells: tuple[CellLine, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """An image that could not be used."""

    image: str
    error: str


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Which images were read. names, content: sha256 of their names, and of their names with their own sha256."""

    files: int
    bytes: int
    names: str
    content: str


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Last line. labels: what a cell could be counted as. domain: how the slide looked in the end."""

    total: bool = True
    labels: tuple[str, ...]
    tally: Tally
    cells_total: int
    domain: str
    failed: tuple[Failed, ...]
    content: Content


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """First and last line of a whole result."""

    head: Head
    total: Total


def path_of(out: Path, slide: str) -> Path:
    """Where a slide's result lies below `out`. That of the archive's own folder lies beside the folder of the others."""
    return out / f"slides{SUFFIX}" if slide == TOP else out / "slides" / f"{slide}{SUFFIX}"


def line(value: msgspec.Struct) -> bytes:
    """One JSON line, keys in a fixed order."""
    return msgspec.json.encode(value, order="deterministic") + b"\n"


def read(path: Path) -> Result | None:
    """What a result says; None where there is none, or not a whole one."""
    try:
        with path.open("rb") as file:
            first, last = file.readline(), _last_line(file)
        head = msgspec.json.decode(first, type=Head)
        total = msgspec.json.decode(last, type=Total)
    except (OSError, msgspec.DecodeError):
        return None
    frames = total.tally.frames
    settled = frames.processed + frames.gated + frames.failed
    if head.format != FORMAT or not settled == frames.captured == total.content.files:
        return None
    return Result(head=head, total=total)


def _last_line(file: BinaryIO) -> bytes:
    """b"" unless the file ends with a line break, which a file that was cut short does not."""
    end, reach, tail = file.seek(0, os.SEEK_END), _TAIL, b""
    while tail.count(b"\n") < 2 and len(tail) < end:
        file.seek(max(0, end - reach))
        tail = file.read()
        reach *= 2
    return tail.splitlines()[-1] if tail.endswith(b"\n") else b""


def holds(result: Result | None, path: Path, slide: Slide, root: Path, wanted: Binding) -> bool:
    """Whether a result is that of the slide as it is now, as far as names, sizes and times tell."""
    if result is None or not fits(result, slide, wanted):
        return False
    try:
        began_ns = path.stat().st_mtime_ns
        found = [(root / file).stat() for file in slide.files]
    except OSError:
        return False
    return sum(each.st_size for each in found) == result.total.content.bytes and all(
        each.st_ctime_ns < began_ns for each in found
    )


def fits(result: Result, slide: Slide, wanted: Binding) -> bool:
    """Whether a result was made with the same binding of images of the same names."""
    return result.head.binding == wanted and result.total.content.names == names_sha256(slide.files)


def names_sha256(files: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(files).encode(errors="surrogateescape")).hexdigest()


class Written:
    """A result on its way into its place."""

    def __init__(self, file: BinaryIO, part: Path, target: Path) -> None:
        self._file, self._part, self._target = file, part, target
        self._began_ns = part.stat().st_mtime_ns

    def add(self, value: msgspec.Struct) -> None:
        self._file.write(line(value))

    def done(self) -> None:
        """The result is whole: put it in its place, safe against a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.utime(self._part, ns=(self._began_ns, self._began_ns))
        self._part.replace(self._target)

    def keep(self) -> None:
        """What is in place already was found to hold from this reading on."""
        os.utime(self._target, ns=(self._began_ns, self._began_ns))


@contextmanager
def written(target: Path) -> Iterator[Written]:
    """A result that takes its place when `done` is called, and leaves nothing if it is not. Makes the folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f"{PART}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with part.open("xb") as file:
            yield Written(file, part, target)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(out: Path) -> None:
    """What killed processes left. Nobody else may write to `out`."""
    for part in out.rglob(f"{PART}*"):
        part.unlink(missing_ok=True)
