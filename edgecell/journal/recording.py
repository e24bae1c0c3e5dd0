"""Beginning a run in a journal, or going on with one."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgecell import clock
from edgecell.errors import JournalError
from edgecell.journal.chain import Key
from edgecell.journal.crops import Crops
from edgecell.journal.disk import check_run
from edgecell.journal.events import RunResumed, RunStarted
from edgecell.journal.journal import Journal, Recorder, held
from edgecell.journal.reader import Reader, RunSummary, State
from edgecell.settings import JournalSettings
from edgecell.signature import key_id, read_private

LOG = logging.getLogger(__name__)
FREE = frozenset({"run.batch_wait_ms", "run.hang_s", "run.memory_mib", "run.read_timeout_s"})
"""Settings that may differ when a run is resumed: they decide how long something may take before that is said, how long frames
wait to share a batch, and how much memory is too much, but not what a frame that is looked at counts. window_s and heartbeat_s
are none of them: their ratio says how many numbers of heartbeats may have been given since the last window."""
LATEST = ""
"""In place of a run's id: the latest run of the same device and sample that did not come to its end, or else a new one."""


@contextmanager
def recording(settings: JournalSettings, started: RunStarted, resume: str | None) -> Iterator[Recorder]:
    """The run's hand on the journal in settings.folder. resume: the id of an earlier run to go on with, LATEST, or None.

    started: the run as it would begin anew; an earlier one must agree with it. Raises JournalError, also for a full disk;
    SettingsError for a key that cannot be used, MissingDependency.
    """
    with Journal.open(settings.folder, device_key(settings.key)) as journal, ExitStack() as stack:
        run_id = _wanted(journal.reader, started, resume)
        stack.enter_context(held(settings.folder, run_id or started.run_id))
        begin, state = (started, None) if run_id is None else _resumed(journal, run_id, started)
        if run_id is None:
            if started.run_id in journal.reader.run_ids():
                raise JournalError(f"there is a run {started.run_id} already", fix="give another --run-id, or none")
            check_run(settings.folder)
        crops = stack.enter_context(Crops.open(settings.folder, settings.crop_budget_mib)) if settings.crops else None
        yield Recorder(journal, begin, state, crops, 0 if run_id is None else 1 + journal.reader.resumed(run_id))


def device_key(path: str) -> Key | None:
    """The private key in a file, None for no path. Raises SettingsError, MissingDependency."""
    if not path:
        return None
    private = read_private(Path(path))
    return Key(key_id(private.public_key()), private)


def _wanted(reader: Reader, started: RunStarted, resume: str | None) -> str | None:
    """The id of the run to go on with, None for a new one."""
    if resume != LATEST:
        return resume
    for run_id in reversed(reader.run_ids()):
        run = reader.run(run_id)
        if run.started and (run.started.device_id, run.started.sample_id) == (started.device_id, started.sample_id):
            if run.ended and run.ended.complete:
                break
            return run_id
    LOG.info("no unfinished run of sample %s on %s: a new one begins", started.sample_id, started.device_id)
    return None


def _resumed(journal: Journal, run_id: str, started: RunStarted) -> tuple[RunResumed, State | None]:
    """Raises JournalError where the run is over, was erased, or is of something else."""
    run = journal.reader.run(run_id)
    if run.started is None:
        raise JournalError(f"the sample of run {run_id} was erased", fix="begin a new run: leave out --resume")
    if run.ended and run.ended.complete:
        raise JournalError(f"run {run_id} came to its end", fix="begin a new run: leave out --resume")
    _compare(run, run.started, started)
    state = journal.reader.state(run_id)
    again = RunResumed(
        run_id=run_id,
        utc=clock.utc_now(),
        clock_synced=clock.synced(),
        version=started.version,
        windows=run.windows,
        operator=started.operator,
    )
    LOG.info("run %s goes on after %d windows", run_id, run.windows)
    return again, state


def _compare(run: RunSummary, then: RunStarted, now: RunStarted) -> None:
    """Raises JournalError that names what differs; FREE settings and the version of edgecell may, which is logged."""
    before, after = dict(_flat(_essence(then))), dict(_flat(_essence(now)))
    changed = {
        key: f"{key}: {before.get(key)!r} then, {after.get(key)!r} now"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }
    differing = [told for key, told in changed.items() if key not in FREE]
    if differing:
        told = ", ".join(differing[:3])
        more = f", and {len(differing) - 3} more" if len(differing) > 3 else ""
        fix = "resume it with its own settings and bundles, or begin a new run: leave out --resume"
        raise JournalError(f"run {run.run_id} was made with other settings ({told}{more})", fix=fix)
    for told in changed.values():
        LOG.info("run %s goes on with %s", run.run_id, told)
    if then.version != now.version:
        LOG.warning("run %s was begun by edgecell %s, this is %s", run.run_id, then.version, now.version)


def _essence(started: RunStarted) -> dict[str, Any]:
    """All that decides what is counted, and as what; as the journal holds it, whose JSON knows lists and no tuples."""
    told = {"device_id": started.device_id, "sample_id": started.sample_id, **started.settings}
    return msgspec.json.decode(msgspec.json.encode(told), type=dict[str, Any])


def _flat(table: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{start}{key}.")
        else:
            yield start + key, value
