"""`edgecell metrics`: what a scrape reads, from messages and over a real bus and a real port."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from bus_messages import counts_message, heartbeat
from bus_station import Station
from click.testing import CliRunner
from command_line import ENVIRONMENT
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edgecell import clock, metrics
from edgecell.cli.metrics import command
from edgecell.errors import MissingDependency, PublishError, SettingsError
from edgecell.messages import NOTICE
from edgecell.metrics import Figures
from edgecell.wire import Device, Message

PATIENCE_S = 30.0
Samples = Mapping[str, Mapping[tuple[str, ...], float]]


def read(text: str) -> Samples:
    """Exposition text, read by Prometheus's own parser: name -> values of its labels -> value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def told(*messages: Message, silence_s: float = 15.0) -> Samples:
    figures = Figures(silence_s)
    for message in messages:
        figures.hear(message)
    return read(generate_latest(metrics.registry(figures)).decode())


def test_counts_and_heartbeat_are_told() -> None:
    found = told(heartbeat(), counts_message())
    assert found["edgecell_up"] == {(): 1}
    assert found["edgecell_info"] == {("bench-3", "run-a"): 1}
    assert {state for (state,), value in found["edgecell_state"].items() if value} == {"running"}
    assert found["edgecell_frames_total"] == {("processed",): 33, ("dropped",): 2, ("gated",): 3, ("failed",): 1}
    assert found["edgecell_frames_gated_total"] == {("blurred",): 3}
    assert found["edgecell_cells"][("neutrophil",)] == 61
    assert found["edgecell_cells_excluded"] == {("edge",): 301, ("duplicate",): 2}
    assert found["edgecell_cells_unsure"] == {(): 7}
    assert found["edgecell_latency_seconds"] == {("0.5",): 0.031, ("0.95",): 0.0405, ("0.99",): 0.044}
    assert (found["edgecell_counts_valid"], found["edgecell_slide_foreign"]) == ({(): 1}, {(): 0})
    assert found["edgecell_clock_synced"] == {(): 1}


def test_the_device_is_told() -> None:
    found = told(heartbeat())
    assert found["edgecell_temperature_celsius"] == {("cpu-thermal",): 51.5, ("nvme Composite",): 38.9}
    assert (found["edgecell_throttled"], found["edgecell_throttled_reason"]) == ({(): 1}, {("under-voltage",): 1})
    assert found["edgecell_power_mode_info"] == {("15W (0)",): 1}
    assert found["edgecell_disk_free_bytes"] == {(): 21_400 * 2**20}


def test_what_a_device_does_not_tell_is_no_zero() -> None:
    found = told(heartbeat(device=Device()), counts_message(latency_ms=None))
    missing = ("temperature_celsius", "throttled", "power_mode_info", "disk_free_bytes", "latency_seconds")
    assert not {f"edgecell_{name}" for name in missing} & found.keys()
    assert "edgecell_disk_free_bytes" not in told(heartbeat(device=None))


def test_the_sample_is_not_named() -> None:
    figures = Figures(15.0)
    figures.hear(counts_message())
    assert "slide-17" not in generate_latest(metrics.registry(figures)).decode()


def test_silence_is_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told()["edgecell_up"] == {(): 0}
    figures = Figures(15.0)
    figures.hear(counts_message())
    figures.hear(heartbeat())
    later = clock.monotonic_ns() + round(16e9)
    monkeypatch.setattr(clock, "monotonic_ns", lambda: later)
    found = read(generate_latest(metrics.registry(figures)).decode())
    assert {name for name in found if not name.startswith("edgecell_messages")} == {"edgecell_up"}
    assert found["edgecell_up"] == {(): 0}


def test_a_new_run_is_not_told_with_the_figures_of_the_old_one() -> None:
    found = told(counts_message(), heartbeat(), heartbeat(run_id="run-b"))
    assert found["edgecell_info"] == {("bench-3", "run-b"): 1}
    assert "edgecell_cells" not in found


def test_without_the_library_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = CliRunner().invoke(command, [])
    assert isinstance(result.exception, MissingDependency)
    assert result.exception.fix == "pip install 'edgecell[metrics]'"


@pytest.mark.parametrize("listen", ["0.0.0.0:9556", "[::]:9556", "192.168.7.3:9556", "bench:9556", "9556", "127.0.0.1:70000"])
def test_it_serves_this_machine_only(listen: str) -> None:
    result = CliRunner().invoke(command, ["--listen", listen])
    assert isinstance(result.exception, SettingsError)


def test_once_without_a_device_is_an_error() -> None:
    result = CliRunner().invoke(command, ["tcp://127.0.0.1:9", "--once", "--silence", "0.2"])
    assert isinstance(result.exception, PublishError)
    assert "no counts and heartbeat" in result.exception.what


@pytest.fixture
def station() -> Iterator[Station]:
    with Station() as station:
        yield station


def test_once_prints_what_a_real_bus_told(station: Station) -> None:
    station.until(station.stop())
    plain = CliRunner().invoke(command, [station.endpoint, "--once", "--silence", str(PATIENCE_S)])
    assert plain.exit_code == 0, plain.output
    total = read(plain.stdout)["edgecell_cells"][("red_blood_cell",)]
    assert total == 2210 + station.sent
    shown = CliRunner().invoke(command, [station.endpoint, "--once", "--json", "--silence", str(PATIENCE_S)])
    samples = json.loads(shown.stdout)["samples"]
    assert json.loads(shown.stdout)["notice"] == NOTICE
    assert {"name": "edgecell_cells", "labels": {"label": "red_blood_cell"}, "value": total} in samples


def test_a_scrape_reads_the_run_and_ctrl_c_ends_it(station: Station, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "edgecell", "metrics", station.endpoint, "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(line, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["listening"]
            found: Samples = {}
            for _ in range(1000):
                with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310 its own
                    found = read(answer.read().decode())
                if found["edgecell_up"] == {(): 1} and "edgecell_cells" in found:
                    break
                station.until(station.sent + 1)
            assert found["edgecell_cells"][("red_blood_cell",)] >= 2210
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert b"Traceback" not in said


def test_a_port_that_is_taken_is_one_line(station: Station) -> None:
    taken = station.endpoint.removeprefix("tcp://")
    result = CliRunner().invoke(command, [station.endpoint, "--listen", taken])
    assert isinstance(result.exception, PublishError)
    assert f"cannot listen on {taken}" in result.exception.what
