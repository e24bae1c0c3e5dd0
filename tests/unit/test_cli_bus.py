"""`edgecell watch` and `edgecell schemas`, in process; tests/system/test_watch.py runs watch as its own process."""

import json
from pathlib import Path

import pytest
from bus_messages import DEVICE, counts_message, heartbeat
from click.testing import CliRunner
from rich.console import Console

from edgecell import wire
from edgecell.cli import schemas, watch
from edgecell.client import Subscriber
from edgecell.errors import EdgecellError, PublishError, SettingsError
from edgecell.messages import NOTICE
from edgecell.wire import CountsMessage, Device


def text_of(message: CountsMessage) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(watch.picture(message))
    return captured.get()


def test_the_picture_holds_what_counts() -> None:
    shown = text_of(counts_message(12))
    for words in ("bench-3", "slide-17", "40 frames", "3 gated", "1 in flight", "2612 cells", "differential of 89", "unsure 7"):
        assert words in shown
    for words in ("neutrophil", "68.5", "56.3 - 79.1", "red_blood_cell", "2210", "-1", "301 edge", "per 100: 3.4", NOTICE):
        assert words in shown
    assert "NOT VALID" not in shown


def test_what_is_not_valid_says_so() -> None:
    message = counts_message(valid=False, invalid_reason="camera lost")
    assert "NOT VALID: camera lost" in text_of(message)
    assert "NOT VALID: camera lost" in watch.line(message)


def test_drops_are_shown_with_their_reasons_and_so_is_what_else_happened() -> None:
    message = counts_message(dropped_reasons={"detect: behind": 2}, remarks=("the device's clock was set by +3600 s",))
    for shown in (text_of(message), watch.line(message)):
        assert "2 dropped (2 detect: behind)" in shown
        assert "clock was set by +3600 s" in shown


def test_before_the_first_cell_there_is_no_percentage() -> None:
    nothing = wire.Differential(n=0, rows=(), method="m", confidence=0.95, erythroblasts=0, erythroblasts_per_100=None)
    message = counts_message(counts={}, cumulative={}, differential=nothing, latency_ms=None, excluded={})
    assert "no cell yet" in watch.line(message)
    assert "latency" not in watch.line(message)
    assert "per 100" not in text_of(message)


def test_text_from_the_bus_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J[red]\n"
    message = counts_message(
        sample_id=evil,
        device_id=evil,
        cumulative={evil: 1},
        valid=False,
        invalid_reason=evil,
        notice=evil,
        remarks=(evil,),
        dropped_reasons={evil: 1},
    )
    for shown in (text_of(message), watch.line(message)):
        assert "\x1b" not in shown
        assert "[red]" in shown  # shown as it is, not taken for a colour
    assert "\n" not in watch.line(message)


def test_plain_lines_tell_states_losses_and_silence_once(capsys: pytest.CaptureFixture[str]) -> None:
    bus = Subscriber()
    with watch.PlainLines() as view:
        for number in range(2):
            view.show(heartbeat(number), bus)
            view.show(counts_message(number), bus)
        bus._follower.gaps = 3
        view.show(heartbeat(7, state="degraded", reason="camera lost", device=Device()), bus)
        view.show(counts_message(9), bus)
        view.silent(5, bus)
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == NOTICE
    assert [line.split(" ")[0] for line in out.splitlines()[1:]] == ["bench-3"] * 2 + ["#0", "#1"] + ["bench-3"] * 2 + ["#9"]
    for told in ("slowed down: under-voltage", "degraded. camera lost", "slowed down no more"):
        assert f"bench-3 is {told}" in out.splitlines()
    assert err.splitlines() == ["messages lost: 3, unreadable: 0", f"nothing received for 5.0 s from {bus.endpoint}"]


def test_json_lines_are_the_messages_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    with watch.JsonLines() as view:
        view.show(counts_message(4), Subscriber())
    assert wire.from_wire(capsys.readouterr().out.encode()) == counts_message(4)


def test_the_device_in_one_line() -> None:
    told = "cpu-thermal 52 °C | slowed down: under-voltage | slowed down earlier: soft temperature limit | 15W (0)"
    assert watch.vitals(DEVICE) == f"{told} | 20.9 GiB free on its disk"
    assert watch.vitals(Device()) == ""
    assert "\x1b" not in watch.vitals(Device(power_mode="\x1b[2J", temperatures_c={"\x1b": 30.0}, throttled=("\x1b",)))


def test_nothing_within_the_time_out_is_an_error_with_once() -> None:
    result = CliRunner().invoke(watch.command, ["ipc:///tmp/edgecell-nobody", "--once", "--timeout", "0.2"])
    assert isinstance(result.exception, PublishError)
    assert "a bus with keys says nothing without --key" in result.exception.fix
    assert result.output == ""


@pytest.mark.parametrize("endpoint", ["5556", "tcp://*:5556"])
def test_a_malformed_endpoint_is_refused(endpoint: str) -> None:
    result = CliRunner().invoke(watch.command, [endpoint])
    assert isinstance(result.exception, SettingsError)


def test_schemas_are_printed_written_and_checked(tmp_path: Path) -> None:
    printed = CliRunner().invoke(schemas.command, []).output.splitlines()
    assert [json.loads(line)["properties"]["schema"]["enum"] for line in printed] == [[topic] for topic in wire.SCHEMAS]
    folder = tmp_path / "new"
    assert CliRunner().invoke(schemas.command, ["--write", str(folder)]).exit_code == 0
    assert CliRunner().invoke(schemas.command, ["--check", str(folder)]).exit_code == 0
    (folder / "counts-1.json").write_text("{}")
    assert isinstance(CliRunner().invoke(schemas.command, ["--check", str(folder)]).exception, EdgecellError)
    in_the_way = CliRunner().invoke(schemas.command, ["--write", str(folder / "counts-1.json")])
    assert isinstance(in_the_way.exception, SettingsError)


@pytest.mark.parametrize("command", [watch.command, schemas.command])
def test_help_teaches_by_example(command: object) -> None:
    assert "Examples:" in CliRunner().invoke(command, ["--help"]).output  # type: ignore[arg-type]
