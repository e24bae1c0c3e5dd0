"""One published file, fetched over HTTPS: resumed after a break, checked, and only then given its name.

While it is on its way it is `NAME.part`; beside it `NAME.part.from` says of which version of which address it is a part.
A part goes on (Range) only where the server says that it still has that very version (If-Range, RFC 9110); where the server
ignores that, or has another version, it starts again.
"""

import hashlib
import http.client
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import msgspec

from calibration import https
from calibration.https import Broken, DownloadFailed
from edgecell import clock

TRIES = 6
"""In a row, without a byte gained: waiting 1, 2, 4, 8 and 16 s between them."""
BLOCK = 1 << 20
ZENODO_ETAG = re.compile(r'^"md5:([0-9a-f]{32})"$')
"""Zenodo sends the MD5 of the file as its ETag."""

Progress = Callable[[int, int | None], None]
"""Bytes here, and of how many if that is known."""
Proof = Literal["published checksum", "checksum sent by the server", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file as published. name: below the folder of the datasets.

    checksum: `md5:...` or `sha256:...` as its publisher states it; "" where no statement of it was found.
    """

    url: str
    name: str
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A complete file. proof: what was compared with its bytes. sha256: of what is here. new: just fetched."""

    path: Path
    sha256: str
    proof: Proof
    new: bool


class _Origin(msgspec.Struct, frozen=True):
    """What a part is a part of. version: a strong ETag or a Last-Modified date, "" where the server gave neither."""

    url: str
    version: str


def fetch(
    wanted: Download,
    folder: Path,
    progress: Progress = lambda _here, _total: None,
    *,
    loopback: bool = False,
    sleep: Callable[[float], None] = clock.sleep,
) -> Fetched:
    """The file in `folder`; what is there already is only checked. loopback: plain HTTP to 127.0.0.1 is allowed (tests).

    Raises DownloadFailed where the server refuses, the connection keeps breaking, the disk is full or the checksum is
    another one. What has arrived stays for the next call, but for a download with the wrong checksum: it is deleted.
    """
    path = folder / wanted.name
    try:
        if path.is_file():
            sha256, proof = _compared(wanted, path, "", fate="stays where it is: move it away")
            return Fetched(path=path, sha256=sha256, proof=proof, new=False)
        return _fetch(wanted, path, progress, loopback=loopback, sleep=sleep)
    except OSError as error:
        raise DownloadFailed(
            f"cannot write {path}: {error.strerror}", fix="mend that and run the same command again"
        ) from error


def _fetch(wanted: Download, path: Path, progress: Progress, *, loopback: bool, sleep: Callable[[float], None]) -> Fetched:
    path.parent.mkdir(parents=True, exist_ok=True)
    arriving = _Arriving(wanted.url, path, progress, loopback=loopback)
    furthest, failures = arriving.here(), 0
    while True:
        try:
            sent_checksum = arriving.attempt()
            break
        except Broken as error:
            failures = 1 if arriving.here() > furthest else failures + 1
            furthest = max(furthest, arriving.here())
            if failures == TRIES:
                raise DownloadFailed(
                    f"{wanted.url}: {error} ({TRIES} times in a row; {arriving.here()} bytes are kept)",
                    fix="run the same command again: it goes on from there",
                ) from error
            sleep(max(error.wait_s, 2.0 ** (failures - 1)))
    try:
        sha256, proof = _compared(wanted, arriving.part, sent_checksum, fate="is deleted")
    except DownloadFailed:
        arriving.forget()
        raise
    arriving.part.replace(path)
    arriving.origin.unlink()
    return Fetched(path=path, sha256=sha256, proof=proof, new=True)


class _Arriving:
    """The part of a file, on its way to be the whole."""

    def __init__(self, url: str, path: Path, progress: Progress, *, loopback: bool) -> None:
        self._url, self._loopback, self._progress = url, loopback, progress
        self.part = path.with_name(f"{path.name}.part")
        self.origin = path.with_name(f"{path.name}.part.from")

    def here(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.exists() else 0

    def forget(self) -> None:
        """Nothing has arrived."""
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def attempt(self) -> str:
        """One request that brings the part to its full length. Returns the checksum that the server sent, "" if none.

        Raises Broken where another attempt may get further.
        """
        version = self._version()
        headers = {"User-Agent": "edgecell-calibration", "Accept-Encoding": "identity"}
        if version:
            headers |= {"Range": f"bytes={self.here()}-", "If-Range": version}
        try:
            with https.get(self._url, headers, loopback=self._loopback) as response:
                return self._take(response, version)
        except https.OutOfRange as error:
            if error.said == f"bytes */{self.here()}":
                return _sent_checksum(version)  # the last call was stopped after the last byte
            self.forget()
            raise Broken("the part is longer than the file on the server: starting again") from error

    def _version(self) -> str:
        """The version that the part is of; "" and no part where that is not known, or where it is of another address."""
        try:
            origin = msgspec.json.decode(self.origin.read_bytes(), type=_Origin)
        except (FileNotFoundError, msgspec.MsgspecError):
            origin = _Origin(url="", version="")
        if origin.url == self._url and origin.version and self.here():
            return origin.version
        self.forget()
        return ""

    def _take(self, response: http.client.HTTPResponse, version: str) -> str:
        sent = _version_of(response)
        start, total = _span(response)
        if not start:
            self.forget()
            self.origin.write_bytes(msgspec.json.encode(_Origin(url=self._url, version=sent)))
        elif start != self.here() or sent != version:
            self.forget()
            raise Broken("the file changed on the server: starting again")
        self._append(response, total)
        if total is not None and self.here() != total:
            raise Broken(f"the connection broke after {self.here()} of {total} bytes")
        return _sent_checksum(sent)

    def _append(self, response: http.client.HTTPResponse, total: int | None) -> None:
        here = self.here()
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - here > free:
            raise DownloadFailed(
                f"{self.part.parent} has {free:,} bytes free, {total - here:,} are still to come",
                fix="make room and run the same command again: what is here is kept",
            )
        with self.part.open("ab", buffering=0) as out:
            self._progress(here, total)
            while block := _read(response):
                _write(out, block)
                here += len(block)
                self._progress(here, total)
            os.fsync(out.fileno())


def _version_of(response: http.client.HTTPResponse) -> str:
    """A validator that If-Range takes: a strong ETag, else a date; "" where there is none."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _span(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the body begins in the file, and the file's whole length if that is said. Raises Broken."""
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None:
            raise Broken("the server sends a part of the file without saying which")
        return int(span[1]), None if span[2] == "*" else int(span[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _sent_checksum(version: str) -> str:
    match = ZENODO_ETAG.match(version)
    return f"md5:{match[1]}" if match else ""


def _read(response: http.client.HTTPResponse) -> bytes:
    """What has arrived, up to BLOCK; b"" at the end. Raises Broken."""
    try:
        return response.read1(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the connection broke: {str(error) or type(error).__name__}") from error


def _write(out: IO[bytes], block: bytes) -> None:
    """All of `block`: an unbuffered file may take less at a time."""
    rest = memoryview(block)
    while rest:
        rest = rest[out.write(rest) :]


def _compared(wanted: Download, file: Path, sent_checksum: str, *, fate: str) -> tuple[str, Proof]:
    """SHA-256 of `file`, and what it was compared with. Raises DownloadFailed where the checksum is another one."""
    sums = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with file.open("rb") as handle:
        while block := handle.read(BLOCK):
            for each in sums.values():
                each.update(block)
    expected = wanted.checksum or sent_checksum
    kind, _, digest = expected.partition(":")
    if expected and sums[kind].hexdigest() != digest:
        raise DownloadFailed(
            f"{file} was damaged or is another file: its {kind} is {sums[kind].hexdigest()}, not {digest}; it {fate}",
            fix="run the same command again; if this repeats, look at the dataset's page: the publisher has changed the file",
        )
    proof: Proof = "none"
    if expected:
        proof = "published checksum" if wanted.checksum else "checksum sent by the server"
    return sums["sha256"].hexdigest(), proof
