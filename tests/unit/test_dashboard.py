"""What the dashboard of `edgecell watch` says; tests/system/test_watch_terminal.py looks at it on a terminal."""

import io
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from bus_messages import CLASSES, counts_message, heartbeat
from rich.console import Console

from edgecell import drift, gate
from edgecell.bundle import CellClass
from edgecell.cli import dashboard
from edgecell.cli.dashboard import FINE, Dashboard, Light, Scene, Screen, alarms, lights
from edgecell.client import Subscriber
from edgecell.messages import NOTICE, Tally
from edgecell.tally import differential
from edgecell.wire import Device, Stop

QUIET = Device()


def scene(*messages: Any) -> Scene:
    made = Scene(endpoint="ipc:///tmp/bus")
    for message in messages:
        made = made.after(message)
    return made


def drawn(seen: Scene, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True, _environ={})
    lines = console.render_lines(Dashboard(seen), console.options.update(width=width, height=height), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def test_the_words_are_those_of_gate_and_drift() -> None:
    assert dashboard.FOCUS_REASONS == (gate.BLURRED,)
    assert dashboard.EXPOSURE_REASONS == (gate.DARK, gate.OVEREXPOSED)
    assert (f"{drift.FOCUS}:",) == dashboard.FOCUS_WORDS
    assert (f"{drift.LAMP}:", f"{drift.WHITE}:") == dashboard.EXPOSURE_WORDS


def test_before_anything_came_it_waits_and_names_where() -> None:
    lines = drawn(scene())
    assert lines[0] == "waiting for the first message from ipc:///tmp/bus"
    assert lines[1] == NOTICE
    assert not any("!" in line for line in lines)


def test_bars_lie_where_their_limits_are() -> None:
    lines = drawn(scene(heartbeat(1), counts_message(2)), width=100 + dashboard.FIGURES_CELLS + len("red_blood_cell"))
    head = next(line for line in lines if "interval" in line)
    begin = head.index("0 %")
    assert head.endswith("80 %")
    assert len(head) - begin == 100
    (row,) = (line for line in lines if line.startswith("neutrophil"))
    places = {mark: (row.index(mark) - begin) / 99 * 80 for mark in (FINE.low, FINE.middle, FINE.high)}
    assert places == {mark: pytest.approx(value, abs=0.5) for mark, value in zip(places, (56.3, 68.5, 79.1), strict=True)}


def test_classes_without_a_row_are_counted_and_said() -> None:
    many = {f"class {number}": CellClass(name=f"class {number}", abbreviation="C", group="other") for number in range(30)}
    tally = Tally(counts=dict.fromkeys(many, 1))
    message = counts_message(cumulative=dict(tally.counts), differential=differential(tally, CLASSES))
    lines = drawn(scene(heartbeat(1), message))
    shown = sum(line.startswith("class ") for line in lines)
    assert 3 < shown < 19
    assert f"and {30 - shown} more classes: make the window taller" in lines
    assert len(lines) == 24


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (200, 60), (80, 9), (20, 5)])
def test_no_line_is_wider_and_no_page_higher_than_the_window(width: int, height: int) -> None:
    lines = drawn(scene(heartbeat(1), counts_message(2, remarks=("x" * 300,))), width, height)
    assert max(map(len, lines)) <= width
    assert NOTICE[:16] in "".join(lines)
    assert height < 24 or width < 80 or len(lines) == height


def test_alarms_come_in_words_once_and_the_worst_first() -> None:
    lost = "the camera is lost; tried again in 3 s"
    beat = heartbeat(1, state="degraded", reason=lost, unsent=4, device=QUIET)
    message = counts_message(2, valid=False, invalid_reason=lost, remarks=(lost, "clock was set"), domain="foreign")
    seen = scene(beat, message)
    said = alarms(replace(seen, silent_s=7.0, lost=2))
    assert [each.split(" ")[0] for each in said] == ["nothing", "bench-3", "NOT", "FOREIGN", "clock", "messages", "messages"]
    assert said[0].startswith("nothing received for 7.0 s from ipc:///tmp/bus")
    assert said[1] == f"bench-3 is degraded. {lost}"
    assert alarms(scene(heartbeat(1, device=QUIET), counts_message(2))) == []


def test_a_run_that_ended_as_it_should_is_no_alarm() -> None:
    rule = Stop(cells=100, width=None, classes=(), now=104.0, progress=1.0, reached=True)
    beat = heartbeat(3, state="stopped", reason=f"enough is counted: {rule}", device=QUIET)
    assert alarms(replace(scene(beat, counts_message(2, stop=rule)), silent_s=60.0)) == []
    early = heartbeat(3, state="stopped", reason="NOT ENOUGH was counted", device=QUIET)
    less = msgspec.structs.replace(rule, reached=False)
    assert len(alarms(replace(scene(early, counts_message(2, stop=less)), silent_s=60.0))) == 1


def gated(sequence: int, processed: int, remarks: tuple[str, ...] = (), invalid: str = "", **reasons: int) -> Any:
    made = msgspec.structs.replace(counts_message().frames, processed=processed, gated=sum(reasons.values()))
    return counts_message(sequence, frames=made, gated_reasons=reasons, remarks=remarks, invalid_reason=invalid)


def test_lights_are_of_the_frames_since_the_message_before() -> None:
    assert lights(scene())[0] == Light("focus", "unknown", "no frame yet")
    assert lights(scene(gated(0, 10), gated(1, 20))) == (Light("focus", "good", "good"), Light("exposure", "good", "good"))
    soft, _ = lights(scene(gated(0, 10, blurred=9), gated(1, 17, blurred=12)))
    assert soft == Light("focus", "look", "3 of 10 frames blurred")
    _, dark = lights(scene(gated(0, 10), gated(1, 12, dark=1, overexposed=7)))
    assert dark == Light("exposure", "bad", "8 of 10 frames overexposed")


def test_lights_heed_what_the_run_remarks_on() -> None:
    text = "lamp: the background is 30 % less than in the optics file"
    assert lights(scene(gated(0, 10), gated(1, 20, remarks=(text,))))[1] == Light("exposure", "look", "has changed")
    assert lights(scene(gated(0, 10), gated(1, 20, invalid=f"a stage hangs; {text}")))[1].level == "bad"


def test_the_stop_rule_says_how_far_it_is() -> None:
    (line,) = (each for each in drawn(scene(heartbeat(1), counts_message(2))) if "200" in each)
    assert line == f"89 of 200 cells of the differential {FINE.full * 9}{FINE.rest * 11} 44 %"
    rule = Stop(cells=None, width=5.0, classes=("basophil",), now=4.9, progress=1.0, reached=True)
    lines = drawn(scene(heartbeat(1), counts_message(2, stop=rule)), width=120)
    assert f"95 % interval of basophil 4.9 points wide, 5 wanted {FINE.full * 20} enough is counted" in lines
    assert not any("200" in each for each in drawn(scene(heartbeat(1), counts_message(2, stop=None))))


def test_another_run_takes_nothing_over() -> None:
    seen = scene(heartbeat(1), counts_message(2), counts_message(0, run_id="run-b"))
    assert (seen.heartbeat, seen.before, seen.run_id) == (None, None, "run-b")


def test_text_from_the_bus_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J[red]\x9b\n"
    beat = heartbeat(1, device_id=evil, state="failed", reason=evil, device=Device(throttled=(evil,), power_mode=evil))
    message = counts_message(
        2,
        device_id=evil,
        sample_id=evil,
        run_id=beat.run_id,
        cumulative={evil: 1},
        valid=False,
        invalid_reason=evil,
        notice=evil,
        remarks=(evil,),
        gated_reasons={evil: 1},
        dropped_reasons={evil: 1},
        excluded={evil: 1},
    )
    lines = drawn(replace(scene(beat, message), problem=evil, unreadable=1, endpoint=evil, silent_s=9.0), 120, 40)
    assert all(line.isprintable() for line in lines)
    assert any("[red]" in line for line in lines)


def test_without_a_terminal_the_last_state_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    bus = Subscriber()
    with Screen() as view:
        view.glance(bus)
        view.show(heartbeat(1), bus)
        view.show(counts_message(4), bus)
        bus._follower.gaps = 2
        view.silent(7, bus)
    last = capsys.readouterr().out
    for words in ("nothing received for 7.0 s", "messages lost: 2", "neutrophil", NOTICE):
        assert words in last
