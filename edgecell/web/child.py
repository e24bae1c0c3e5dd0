"""The process of a run. It is no child in spirit: it goes on when the server ends, and the next server finds it again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import Self

PROCESSES = Path("/proc")
MOST_LOG = 64 << 10
"""Bytes of the log's end that are read for what went wrong."""
ERROR = "edgecell: error: "
FIX = ". Fix: "


class Child:
    """A process that this server began, or one of an earlier server's. Its number may be given to another one when it has
    ended, so it is held by a file descriptor of Linux's (pidfd)."""

    def __init__(self, pid: int, fd: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid, self._fd, self._process = pid, fd, process

    @classmethod
    def begin(cls, arguments: Sequence[str], log: Path) -> Self:
        """`edgecell ARGUMENTS`, in a session of its own, so that Ctrl-C in the server's terminal is not meant for it. Raises
        OSError."""
        line = [sys.executable, "-m", "edgecell", *arguments]
        with log.open("wb") as errors:
            process = subprocess.Popen(  # noqa: S603 what is asked for stands in options of their own, no shell sees it
                line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True, umask=0o077
            )
        return cls(process.pid, os.pidfd_open(process.pid), process)

    @classmethod
    def found(cls, mark: str) -> Self | None:
        """The process that has `mark` among its arguments, None where there is none."""
        for folder in PROCESSES.iterdir():
            if not folder.name.isdigit():
                continue
            try:
                fd = os.pidfd_open(int(folder.name))  # first: from here on the number is that of no other process
            except OSError:
                continue
            if mark.encode() in _arguments(folder):
                return cls(int(folder.name), fd)
            os.close(fd)
        return None

    def ask_to_stop(self) -> None:
        """SIGTERM: what was read is counted, and the last counts are published."""
        try:
            signal.pidfd_send_signal(self._fd, signal.SIGTERM)
        except ProcessLookupError:
            return

    async def ended(self) -> int | None:
        """Wait for its end: its exit code, minus the signal that ended it; None where only an earlier server would know."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, over.set)  # readable from the end of the process on
        try:
            await over.wait()
        finally:
            loop.remove_reader(self._fd)
        return None if self._process is None else self._process.wait()

    def close(self) -> None:
        """Let go of it; it goes on."""
        os.close(self._fd)
        if self._process is not None and self._process.returncode is None:
            self._process.returncode = 0  # or Python would warn that it was not waited for, which is meant


def _arguments(folder: Path) -> list[bytes]:
    """Of the process whose folder of /proc that is; none where it has gone, or is somebody else's."""
    try:
        return (folder / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def last_error(log: Path) -> tuple[str, str]:
    """What a run's log says went wrong, and the fix; "" where it says nothing."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - MOST_LOG))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "", ""
    told = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    what, _, fix = told[-1].partition(FIX) if told else ("", "", "")
    return what, fix
