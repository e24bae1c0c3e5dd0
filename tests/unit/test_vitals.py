"""The device is looked at beside the run, and in its heartbeats."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_messages import DEVICE
from command_line import finished

from edgecell import clock
from edgecell.runtime import vitals
from edgecell.runtime.vitals import Vitals
from edgecell.wire import Device

PATIENCE_S = 10.0


def of_vitals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "edgecell-vitals"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(vitals, "LOOK_S", 0.001)
    yield
    assert of_vitals() == []


def test_the_latest_look_is_told_and_the_thread_leaves(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgecell")
    looks = iter([Device(), DEVICE, DEVICE, Device()])
    over = threading.Event()

    def look() -> Device:
        seen = next(looks, None)
        if seen is None:
            over.set()
        return seen or Device(power_mode="the last")

    with Vitals(look) as watched:
        assert over.wait(PATIENCE_S)
    assert watched.latest == Device(power_mode="the last")
    assert [record.message for record in caplog.records] == [
        "the device is slowed down: under-voltage",
        "the device is slowed down no more",
    ]


def test_a_sensor_that_goes_away_costs_one_look() -> None:
    looks: Iterator[Device | OSError] = iter([OSError("no such device"), DEVICE])
    over = threading.Event()

    def look() -> Device:
        seen = next(looks, None)
        if isinstance(seen, OSError):
            raise seen
        if seen is None:
            over.set()
        return seen or DEVICE

    with Vitals(look) as watched:
        assert over.wait(PATIENCE_S)
    assert watched.latest == DEVICE


def test_without_a_look_there_is_no_thread() -> None:
    with Vitals(None) as watched:
        assert of_vitals() == []
        assert watched.latest is None


def test_a_look_that_hangs_keeps_nobody_and_says_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, hanging, looks = threading.Event(), threading.Event(), iter([DEVICE])

    def look() -> Device:
        seen = next(looks, None)
        if seen is None:
            hanging.set()
            hangs.wait(PATIENCE_S)
        return seen or Device()

    monkeypatch.setattr(vitals, "LEAVE_S", 0.01)
    with Vitals(look) as watched:
        assert hanging.wait(PATIENCE_S)
        before = watched.latest
        later = clock.monotonic_ns() + round((vitals.OLD_S + 1) * 1e9)
        monkeypatch.setattr(clock, "monotonic_ns", lambda: later)
        assert (before, watched.latest) == (DEVICE, None)
    (left,) = of_vitals()
    hangs.set()
    left.join(PATIENCE_S)


def test_a_run_tells_it_in_its_heartbeats(tmp_path: Path) -> None:
    listener = """
import threading
from edgecell.runtime.bus import Bus
from edgecell.wire import to_wire
publish = Bus.publish
def told(self, message):
    if hasattr(message, "uptime_s"):
        print("beat", to_wire(message)[1].decode())
    publish(self, message)
Bus.publish = told
"""
    source = "phantom:width=320,height=240"
    ended = finished(
        "run", "--source", source, "--max-frames", "5", "--publish", "tcp://127.0.0.1:*", "--no-journal",
        folder=tmp_path, prelude=listener,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    beats = [line for line in ended.out.splitlines() if line.startswith("beat ")]
    assert '"disk_free_mib":' in beats[-1]
    assert '"device":null' not in beats[-1]
