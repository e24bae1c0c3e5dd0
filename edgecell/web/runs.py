"""The one run that the page began: its state, and how it is begun, stopped, and found again.

    idle --begin--> starting --first heartbeat--> running --DELETE--> stopping --> stopped
                        |                            |                    |
                        +----------------------------+--------------------+------> failed, with error and fix

A run is a process of its own, and does not end with the server: whatever becomes of this one, the counts go on, and are in the
journal. What is needed to find it again lies in JOURNAL/serve while it goes on: its id, which is one of the arguments of its
process, and what was asked for.
"""

import asyncio
import fcntl
import logging
import os
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edgecell import clock, settings
from edgecell.errors import EdgecellError, JournalError, SettingsError
from edgecell.files import write_whole
from edgecell.journal.reader import Reader
from edgecell.web.answers import Refused
from edgecell.web.child import Child, last_error
from edgecell.web.hub import Hub
from edgecell.web.start import Start, command_line, run_mark
from edgecell.wire import Heartbeat

LOG = logging.getLogger(__name__)
RECENT_S = 5.0
"""A heartbeat younger than this is that of a run which goes on."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The event `run`. error, fix: why it failed. pid: of its process, 0 before one and after."""

    state: Literal["idle", "starting", "running", "stopping", "stopped", "failed"] = "idle"
    run_id: str = ""
    settings: str = ""
    sample_id: str = ""
    operator: str = ""
    begun_utc: str = ""
    error: str = ""
    fix: str = ""
    pid: int = 0


class Runs:
    """settings: name -> file, None for the phantom slide. endpoint: where its messages are to be heard. Used on the server's
    one thread."""

    def __init__(self, *, journal: Path, settings: Mapping[str, Path | None], endpoint: str, hub: Hub) -> None:
        self.settings, self._journal, self._endpoint, self._hub = settings, journal, endpoint, hub
        self._folder = journal / "serve"
        self._file, self._log = self._folder / "run.json", self._folder / "run.log"
        self._now = Run()
        self._child: Child | None = None
        self._heard: tuple[str, int] = ("", 0)
        self._watching: asyncio.Task[None] | None = None
        self._lock = -1

    def open(self) -> None:
        """Find the run of an earlier server. Raises JournalError where another server has this journal, or it cannot be
        written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"another edgecell serve has the journal {self._journal}"
            raise JournalError(what, fix="stop it, or give another folder: --journal") from None
        except OSError as error:
            what = f"cannot write {self._folder}: {error.strerror}"
            raise JournalError(what, fix="give another folder: --journal") from None
        self._find()

    async def close(self) -> None:
        """The run goes on."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._child is not None:
            self._child.close()
        if self._lock >= 0:
            os.close(self._lock)

    def begin(self, asked: Start) -> Run:
        """Raises Refused: 409 while one goes on, 422 for what cannot be begun."""
        self._check_free()
        if asked.settings not in self.settings:
            known = ", ".join(self.settings)
            raise Refused(422, f"there are no settings {asked.settings!r}", field="settings", fix=f"choose one of {known}")
        file, run_id = self.settings[asked.settings], str(uuid.uuid4())
        try:
            if file is not None:
                settings.load(file)
        except SettingsError as error:
            raise Refused(422, error.what, field="settings", fix=error.fix) from None
        arguments = command_line(asked, run_id, file, self._journal, self._endpoint)
        begun = Run(
            state="starting",
            run_id=run_id,
            settings=asked.settings,
            sample_id=asked.sample_id,
            operator=asked.operator,
            begun_utc=clock.utc_now(),
        )
        for event in ("counts", "preview", "heartbeat"):
            self._hub.forget(event)
        try:
            write_whole(
                self._file, msgspec.json.encode(begun)
            )  # first: whatever ends the server now, the next one looks for it
            self._watch(Child.begin(arguments, self._log), begun)
        except OSError as error:
            self._file.unlink(missing_ok=True)  # or the next server would tell of a run that never was
            what = f"the run cannot be begun: {error.strerror}"
            raise Refused(500, what, fix=f"make room, on the disk of {self._folder} and in memory") from None
        LOG.info("run %s begins, process %d", run_id, self._now.pid)
        return self._now

    def stop(self) -> Run:
        """Ask it to stop. Raises Refused (409) where there is none of ours."""
        if self._child is None:
            elsewhere = self._elsewhere()
            what = f"the run {elsewhere} was not begun here" if elsewhere else "no run goes on"
            raise Refused(409, what, fix="stop it where it was begun" if elsewhere else "")
        self._child.ask_to_stop()
        self._become(state="stopping")
        return self._now

    def heard(self, beat: Heartbeat) -> None:
        """A heartbeat from the bus."""
        alive = beat.state not in ("stopped", "failed")
        self._heard = (beat.run_id, clock.monotonic_ns()) if alive else ("", 0)
        if self._now.state == "starting" and beat.run_id == self._now.run_id:
            self._become(state="running")

    def _check_free(self) -> None:
        if self._child is not None:
            raise Refused(409, f"the run {self._now.run_id} goes on", fix="stop it first")
        if elsewhere := self._elsewhere():
            raise Refused(409, f"the run {elsewhere}, which was not begun here, goes on", fix="stop it where it was begun")

    def _elsewhere(self) -> str:
        """Id of a run that goes on and is none of ours, "" if there is none."""
        run_id, heard_ns = self._heard
        return run_id if run_id != self._now.run_id and clock.monotonic_ns() - heard_ns < RECENT_S * 1e9 else ""

    def _find(self) -> None:
        """The run that an earlier server began: it goes on, or how it ended is told."""
        try:
            left = msgspec.json.decode(self._file.read_bytes(), type=Run)
        except FileNotFoundError:
            self._become()
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            LOG.warning("what an earlier server left in %s cannot be read: %s", self._file, error)
            self._become()
            return
        child = Child.found(run_mark(left.run_id))
        if child is not None:
            LOG.info("run %s of an earlier server goes on, process %d", left.run_id, child.pid)
            self._watch(child, left)
        else:
            self._now = left
            self._over(None)

    def _watch(self, child: Child, run: Run) -> None:
        self._child, self._now = child, msgspec.structs.replace(run, pid=child.pid)
        self._become()
        self._watching = asyncio.create_task(self._wait(child))

    async def _wait(self, child: Child) -> None:
        self._over(await child.ended())
        child.close()

    def _over(self, code: int | None) -> None:
        """Say how it ended. What names the sample beside the journal goes."""
        self._child, self._heard = None, ("", 0)
        what, fix = self._why(code)
        LOG.info("run %s is over%s", self._now.run_id, f": {what}" if what else "")
        self._become(state="failed" if what else "stopped", error=what, fix=fix, pid=0)
        self._file.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)

    def _why(self, code: int | None) -> tuple[str, str]:
        """What went wrong and the fix, "" where nothing did."""
        what, fix = last_error(self._log)
        if what or code == 0 or (code == -signal.SIGTERM and self._now.state == "stopping"):
            return what, fix
        try:
            with Reader.open(self._journal) as reader:
                ended = reader.run(self._now.run_id).ended
        except EdgecellError:
            ended = None
        if code is None and ended is not None:
            return ended.reason, ""
        how = f"was killed (signal {-code})" if code is not None and code < 0 else "ended without a word"
        return f"the program of the run {how}", "what was counted until then is in the journal; begin a new run"

    def _become(self, **changes: object) -> None:
        self._now = msgspec.structs.replace(self._now, **changes)
        self._hub.tell("run", msgspec.json.encode(self._now))
