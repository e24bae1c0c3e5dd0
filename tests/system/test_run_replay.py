"""A real run with its journal, and a listener that was away: across a restart of the listener, and of the device."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Running, started
from tiny_bundle import make_tiny_bundle

from edgecell.client import Position, Subscriber
from edgecell.wire import CountsMessage

PATIENCE_S = 60.0


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Settings of a small phantom, with a journal beside them."""
    make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "bench.toml").write_text(
        f"""
        device_id = "bench-3"
        sample_id = "slide-17"
        models = {{nucleated = "./tiny"}}
        source = {{part = "phantom", width = 160, height = 120}}
        segmenter = {{part = "stain"}}
        publisher = {{endpoint = "ipc://{tmp_path}/bus"}}
        journal = {{path = "journal"}}
        run = {{window_s = 0.05, heartbeat_s = 0.1}}
        """
    )
    return tmp_path


class Listener:
    """Listens in turns. heard: all counts messages of all turns."""

    def __init__(self, folder: Path) -> None:
        self._endpoint = f"ipc://{folder}/bus"
        self.heard: list[CountsMessage] = []
        self.gaps = self.replayed = 0

    def turn(self, until: Callable[[], bool]) -> None:
        last = self.heard[-1] if self.heard else None
        after = Position(device_id=last.device_id, run_id=last.run_id, sequence=last.sequence) if last else None
        deadline = time.monotonic() + PATIENCE_S
        with Subscriber(self._endpoint, ["counts/1"], after=after) as bus:
            while not until():
                message = bus.receive(0.1)
                self.heard += [message] if isinstance(message, CountsMessage) else []
                assert time.monotonic() < deadline, bus.last_problem
            self.gaps, self.replayed = self.gaps + bus.gaps, self.replayed + bus.replayed

    def numbers(self, run_id: str) -> list[int]:
        return [each.sequence for each in self.heard if each.run_id == run_id]


def ended(running: Running) -> list[dict[str, Any]]:
    """Stop it. The counts that it printed."""
    running.process.send_signal(signal.SIGTERM)
    end = running.ended()
    assert end.code == 0, end.err
    return [each for each in end.documents if each["schema"] == "counts/1"]


def test_a_listener_that_comes_and_goes_has_every_message_of_two_runs(bench: Path) -> None:
    listener = Listener(bench)
    with started("run", "bench.toml", "--json", folder=bench) as running:
        listener.turn(lambda: len(listener.heard) >= 3)
        first = listener.heard[-1]
        time.sleep(1)  # ten windows and more go by unheard
        listener.turn(lambda: listener.heard[-1].sequence > first.sequence + 5)
        printed = ended(running)  # and more
    with started("run", "bench.toml", "--json", folder=bench) as running:
        listener.turn(lambda: listener.heard[-1].run_id != first.run_id)
        second = listener.heard[-1].run_id
        ended(running)
    assert (listener.gaps, listener.replayed > 5) == (0, True)
    start = listener.heard[0].sequence
    assert listener.numbers(first.run_id) == list(range(start, len(printed)))
    assert listener.numbers(second)[0] == 0
    for each, document in zip(listener.heard, printed[start:], strict=False):
        assert each.cumulative == document["cumulative"]
        assert (each.sample_id, each.journal_position) == ("", document["journal_position"])
        assert each.chain_head == document["chain_head"]
        assert each.chain_head
