"""A listener comes back after a day: how long it takes until it has everything, and what that costs device and listener.

    python -m benchmarks.catch_up --messages 100000 --folder /tmp/day

Makes a journal with as many windows (kept in --folder, and used again), starts a device on it as a process of its own, which
turns 25 times a second as a run does that publishes and serves between two frames, and listens from the first window on. Every
message must come once, in order, with the totals that were recorded. Prints one JSON object: seconds, memory, and how long the
device's turns took.
"""

import argparse
import json
import select
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from edgecell import clock, tally
from edgecell.bench import spread
from edgecell.bundle import CellClass
from edgecell.bus import curve
from edgecell.client import Position, Subscriber
from edgecell.errors import EdgecellError, JournalError
from edgecell.journal.events import FrameFate, RecordedCell, RunStarted, Window
from edgecell.journal.journal import Journal
from edgecell.journal.record import Record
from edgecell.messages import NOTICE, FrameFates, Tally
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import CountsMessage, Heartbeat, frames_of, to_wire

DEVICE, RUN = "bench-3", "catch-up"
TURN_S = 0.04
TRANSACTION = 1000
PATIENCE_S = 60.0
WHITE = {"neutrophil": 610, "lymphocyte": 280, "monocyte": 70, "eosinophil": 30, "basophil": 10}
CLASSES = {name: CellClass(name=name, abbreviation=name[:3], group="leukocyte", in_differential=True) for name in WHITE}
DIFFERENTIAL = tally.differential(Tally(counts=WHITE), CLASSES)


def counts(number: int) -> CountsMessage:
    """Message `number` of the run; its red cells tell which one it is."""
    cumulative = {**WHITE, "red_blood_cell": number}
    return CountsMessage(
        device_id=DEVICE,
        run_id=RUN,
        sample_id="slide-17",
        sequence=number,
        window_start_utc="2026-01-31T12:00:00.000Z",
        clock_synced=True,
        window_s=1.0,
        counts={"red_blood_cell": 1},
        cumulative=cumulative,
        unsure=0,
        excluded={"edge": 0},
        cells_total=sum(cumulative.values()),
        counting="every_frame",
        frames=frames_of(FrameFates(captured=number + 1, processed=number + 1)),
        gated_reasons={},
        dropped_reasons={},
        latency_ms=None,
        differential=DIFFERENTIAL,
        pixel_um=0.1,
        pixel_um_source="settings",
        domain="known",
        domain_confidence=0.96,
        models=(),
        valid=True,
    )


def window(number: int, cells: int) -> Window:
    recorded = tuple(
        RecordedCell(number, index, "red", "red_blood_cell", 0.9, True, None, (index, 8, index + 26, 41))
        for index in range(cells)
    )
    topic, payload = to_wire(counts(number))
    frames = (FrameFate(number, 1, "processed"),)
    return Window(run_id=RUN, sequence=number, frames=frames, cells=recorded, topic=topic, message=msgspec.Raw(payload))


def started() -> RunStarted:
    """How the run begins."""
    return RunStarted(
        run_id=RUN,
        utc=clock.utc_now(),
        clock_synced=True,
        device_id=DEVICE,
        sample_id="slide-17",
        version="",
        settings={},
        settings_sha256="",
        classes=CLASSES,
    )


def record(folder: Path, messages: int, cells: int) -> None:
    """A journal with so many windows. Raises JournalError for one with another number of them."""
    with Journal.open(folder) as journal:
        if RUN not in journal.reader.run_ids():
            journal.append(started())
            windows = (window(number, cells) for number in range(messages))
            while some := list(islice(windows, TRANSACTION)):
                journal.append(*some)
        found = journal.reader.run(RUN).windows
    if found != messages:
        raise JournalError(f"{folder} holds {found} windows, not {messages}", fix="give another --folder, or remove it")


def device(folder: Path, messages: int, keys: Path | None) -> dict[str, Any]:
    """Publish the last window and heartbeats, and serve, 25 times a second, until stdin ends."""
    options = {} if keys is None else {"server_key": keys / "device.bus.key", "allow": keys / "allowed"}
    publisher = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*", **options))  # type: ignore[arg-type]
    turns_ms: list[float] = []
    with Record.open(folder) as journal:
        publisher.replay_from(journal)
        with publisher:
            print(publisher.endpoint, flush=True)
            publisher.publish(*to_wire(publisher.outgoing(counts(messages - 1))))
            while not select.select([sys.stdin], [], [], 0)[0]:
                start = clock.monotonic_ns()
                publisher.publish(*to_wire(publisher.outgoing(_beat(len(turns_ms)))))
                publisher.serve(0)
                turns_ms.append((clock.monotonic_ns() - start) / 1e6)
                clock.sleep(TURN_S - turns_ms[-1] / 1e3)
    return {"turns_ms": msgspec.to_builtins(spread(turns_ms)), "longest_turn_ms": max(turns_ms), **memory()}


def listen(endpoint: str, messages: int, keys: Path | None) -> dict[str, Any]:
    """From the first window to the last. Raises EdgecellError for a message that is not as it was recorded."""
    own = {} if keys is None else {"key": keys / "reader.bus.key", "server_key": keys / "device.bus.pub"}
    before = memory()["rss_mib"]
    start = clock.monotonic_ns()
    expected = 1
    with Subscriber(endpoint, ["counts/1"], after=Position(device_id=DEVICE, run_id=RUN, sequence=0), **own) as bus:  # type: ignore[arg-type]
        while expected < messages:
            message = bus.receive(PATIENCE_S)
            wanted = msgspec.structs.replace(counts(expected), sample_id="")
            if not isinstance(message, CountsMessage) or _bare(message) != wanted:
                raise EdgecellError(f"message {expected} did not come as it was recorded: {message} {bus.last_problem}")
            expected += 1
        seconds = (clock.monotonic_ns() - start) / 1e9
        return {"seconds": seconds, "gaps": bus.gaps, "fetched": bus.replayed, "rss_before_mib": before, **memory()}


def _bare(message: CountsMessage) -> CountsMessage:
    """Without its place in the journal."""
    return msgspec.structs.replace(message, journal_position=None, chain_head="", chain_signature="")


def _beat(number: int) -> Heartbeat:
    return Heartbeat(
        device_id=DEVICE,
        run_id=RUN,
        sequence=number,
        utc=clock.utc_now(),
        clock_synced=True,
        state="running",
        uptime_s=1.0,
        frames=frames_of(FrameFates()),
    )


def memory() -> dict[str, float]:
    """Resident memory of this process now and at its highest, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return {name: int(lines[key].split()[0]) / 1024 for name, key in (("rss_mib", "VmRSS"), ("highest_mib", "VmHWM"))}


def make_keys(folder: Path) -> Path:
    """Keys of a device and of a listener that it allows."""
    if not (folder / "device.bus.key").exists():
        for name in ("device", "reader"):
            curve.new_keys(name, folder)
        (folder / "allowed").mkdir(mode=0o700)
        (folder / "allowed" / "reader.bus.pub").write_bytes((folder / "reader.bus.pub").read_bytes())
    return folder


def run(folder: Path, messages: int, cells: int, with_keys: bool) -> dict[str, Any]:
    """The whole of it."""
    record(folder, messages, cells)
    keys = make_keys(folder / "keys") if with_keys else None
    line = [sys.executable, "-m", "benchmarks.catch_up", "--messages", str(messages), "--folder", str(folder), "--device"]
    line += ["--curve"] if with_keys else []
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 this module
        try:
            assert process.stdout is not None  # noqa: S101 there is a pipe
            heard = listen(process.stdout.readline().strip(), messages, keys)
        finally:
            told, _ = process.communicate()
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    conditions = {"messages": messages, "cells_a_window": cells, "curve": with_keys, "journal_mib": size / 2**20}
    return {**conditions, "listener": heard, "device": json.loads(told), "notice": NOTICE}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="windows in the journal")
    parser.add_argument("--cells", type=int, default=30, help="cells in each window")
    parser.add_argument("--folder", type=Path, required=True, help="of the journal; made if missing")
    parser.add_argument("--curve", action="store_true", help="with keys")
    parser.add_argument("--device", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.device:
            print(json.dumps(device(chosen.folder, chosen.messages, chosen.folder / "keys" if chosen.curve else None)))
        else:
            print(json.dumps(run(chosen.folder, chosen.messages, chosen.cells, chosen.curve), indent=2))
    except EdgecellError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
