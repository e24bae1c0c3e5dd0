"""SIGTERM to real processes: all is over within two seconds, and the last word is on the bus."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from command_line import PATIENCE_S
from listening import TESTS, listener, process
from tiny_bundle import make_tiny_bundle

from edgecell.wire import CountsMessage

WITHIN_S = 2.0


def ended_s(running: "subprocess.Popen[str]") -> float:
    """Seconds from SIGTERM to the end of the process, which must be an orderly one."""
    asked = time.monotonic()
    running.send_signal(signal.SIGTERM)
    code = running.wait(PATIENCE_S)
    took_s = time.monotonic() - asked
    assert running.stderr is not None
    assert (code, "Traceback" in running.stderr.read()) == (0, False)
    return took_s


def reconciles(counts: CountsMessage) -> None:
    frames = counts.frames
    assert frames.captured == frames.processed + frames.dropped + frames.gated + frames.failed
    assert frames.in_flight == 0
    assert frames.dropped == sum(counts.dropped_reasons.values())


@pytest.mark.parametrize("pace", ["", ",fps=30"], ids=["files", "camera"])
def test_a_busy_run_is_over_within_two_seconds(tmp_path: Path, pace: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    endpoint, settings = f"ipc://{tmp_path}/bus", tmp_path / "bench.toml"
    settings.write_text(f'models = {{nucleated = "./tiny"}}\npublisher = {{endpoint = "{endpoint}"}}\nrun = {{window_s = 0.2}}')
    with listener(endpoint) as heard, process("-m", "edgecell", "run", settings, "--source", f"phantom:seed=3{pace}") as run:
        heard.until("running", processed=2)
        took_s = ended_s(run)
        last = heard.until("stopped")
    assert took_s < WITHIN_S
    reconciles(heard.counts)
    assert (heard.counts.frames, heard.counts.valid) == (last.frames, True)
    assert set(heard.counts.dropped_reasons) <= {f"{stage}: behind" for stage in ("detect", "classify", "tally") if pace}
    with capsys.disabled():
        print(
            f"\nSIGTERM to a busy run{pace or ', files'}: over after {took_s:.2f} s, {last.frames.processed} frames processed"
        )


def test_a_run_that_hangs_is_over_within_two_seconds_and_says_what_it_gave_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"ipc://{tmp_path}/bus"
    with listener(endpoint) as heard, process(TESTS / "hanging_run.py", endpoint) as run:
        heard.until("running", processed=2)
        took_s = ended_s(run)
        last = heard.until("stopped")
    assert took_s < WITHIN_S
    reconciles(heard.counts)
    assert (last.frames.processed, heard.counts.dropped_reasons["drain: out of time"]) == (2, 2)  # in hand, and in front of it
    with capsys.disabled():
        print(f"\nSIGTERM to a run that hangs: over after {took_s:.2f} s, given up: {heard.counts.dropped_reasons}")


def test_systemd_hears_of_a_real_run(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    settings = tmp_path / "bench.toml"
    settings.write_text(f'models = {{nucleated = "./tiny"}}\npublisher = {{endpoint = "ipc://{tmp_path}/bus"}}')
    address = f"@edgecell-run-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address.replace("@", "\0"))
        systemd.settimeout(PATIENCE_S)
        command = ("-m", "edgecell", "run", settings, "--source", "phantom:width=320,height=240")
        with process(*command, NOTIFY_SOCKET=address, WATCHDOG_USEC="200000") as run:
            said = [systemd.recv(4096).decode()]
            while said.count("WATCHDOG=1") < 4:
                said.append(systemd.recv(4096).decode())
            ended_s(run)
            while said[-1] != "STATUS=stopped":
                said.append(systemd.recv(4096).decode())
    assert said[0] == "READY=1"
    assert said.index("STATUS=running") < said.index("STOPPING=1")
