"""A real process with a run, and a listener on its bus."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
from command_line import ENVIRONMENT, PATIENCE_S

from edgecell.wire import CountsMessage, Heartbeat, Message, from_wire

TESTS = Path(__file__).parent


class Listener:
    """A subscriber to everything."""

    def __init__(self, heard: "zmq.Socket[bytes]") -> None:
        self._heard = heard
        self.messages: list[Message] = []

    def until(self, state: str, processed: int = 0) -> Heartbeat:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._heard.poll(100):
                self.messages.append(from_wire(self._heard.recv_multipart()[1]))
                last = self.messages[-1]
                if isinstance(last, Heartbeat) and last.state == state and last.frames.processed >= processed:
                    return last
        raise AssertionError(f"never {state}: {self.messages[-1:]}")

    @property
    def counts(self) -> CountsMessage:
        return [message for message in self.messages if isinstance(message, CountsMessage)][-1]


@contextmanager
def listener(endpoint: str) -> Iterator[Listener]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.SUB) as heard:
        heard.setsockopt(zmq.LINGER, 0)
        heard.setsockopt(zmq.SUBSCRIBE, b"")
        heard.connect(endpoint)
        yield Listener(heard)


@contextmanager
def process(*command: object, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    everything: dict[str, Any] = {**ENVIRONMENT, **environment}
    everything["PYTHONPATH"] += os.pathsep + str(TESTS)
    line = [sys.executable, *map(str, command)]
    with subprocess.Popen(line, env=everything, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()
