"""The bus over real sockets: a stranger who has only the schema, late joiners, stalled listeners, the last message."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zmq
from bus_messages import counts_message, heartbeat

import edgecell
from edgecell import wire
from edgecell.client import Subscriber
from edgecell.errors import PublishError, SettingsError
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import Message, to_wire

SCHEMAS = Path(edgecell.__file__).parent / "schemas"
PATIENCE_S = 10.0


def opened(**options: Any) -> ZmqPublisher:
    return ZmqPublisher(ZmqPublisher.Options(**{"endpoint": "tcp://127.0.0.1:*", **options}))


@pytest.fixture
def publisher() -> Iterator[ZmqPublisher]:
    with opened() as publisher:
        yield publisher


Listen = Callable[..., "zmq.Socket[bytes]"]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Opens plain sockets, SUB unless told otherwise."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def open_one(endpoint: str, topic: bytes = b"", high_water: int = 1000) -> "zmq.Socket[bytes]":
        sockets.append(context.socket(zmq.SUB))
        sockets[-1].setsockopt(zmq.RCVHWM, high_water)
        sockets[-1].setsockopt(zmq.SUBSCRIBE, topic)
        sockets[-1].connect(endpoint)
        return sockets[-1]

    yield open_one
    for each in sockets:
        each.close(linger=0)
    context.term()


def until(done: Callable[[], Any], step: Callable[[], object]) -> Any:
    """What `done` answers once that is true, with `step` in between."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answer := done():
            return answer
        step()
    raise AssertionError(f"nothing within {PATIENCE_S} s")


def send(publisher: ZmqPublisher, *messages: Message) -> None:
    for message in messages:
        publisher.publish(*to_wire(message))


def joined(publisher: ZmqPublisher, subscriber: Subscriber) -> Message:
    """The first message of a subscriber that has just connected."""
    message: Message = until(lambda: subscriber.receive(0.01), lambda: publisher.serve(0.01))
    return message


def test_a_stranger_reads_the_bus_by_the_schema_alone(publisher: ZmqPublisher, listen: Listen) -> None:
    """What a program in any language does: it knows the files in schemas/ and nothing of this package."""
    validators = {}
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text())
        validators[schema["properties"]["schema"]["enum"][0].encode()] = jsonschema.Draft202012Validator(schema)
    plain = listen(publisher.endpoint)
    send(publisher, counts_message(), heartbeat())
    until(lambda: plain.poll(10), lambda: publisher.serve(0.01))
    send(publisher, *(counts_message(number) for number in range(1, 4)), heartbeat(1))
    last: dict[bytes, int] = {}
    while last != {b"counts/1": 3, b"heartbeat/1": 1}:
        assert plain.poll(round(1000 * PATIENCE_S))
        topic, payload = plain.recv_multipart()
        document = json.loads(payload.decode("utf-8"))
        validators[topic].validate(document)
        assert "research use only" in document["notice"]
        if topic == b"counts/1":
            totals = sum(document["cumulative"].values()) + document["unsure"] + sum(document["excluded"].values())
            assert totals == document["cells_total"]
        last[topic] = document["sequence"]


def test_late_joiners_get_the_last_value_one_after_the_other(publisher: ZmqPublisher) -> None:
    send(publisher, *(counts_message(number) for number in range(5)), heartbeat(7))
    with Subscriber(publisher.endpoint, ["counts/1"]) as first:
        assert joined(publisher, first) == counts_message(4)
        with Subscriber(publisher.endpoint, ["counts/1", "heartbeat/1"]) as second:
            both = {joined(publisher, second).sequence, joined(publisher, second).sequence}
            assert both == {4, 7}
            send(publisher, counts_message(5))
            for subscriber in (first, second):  # the first one saw 4 again, and does not show it twice
                assert subscriber.receive(PATIENCE_S) == counts_message(5)
                assert subscriber.gaps == 0


def test_a_listener_may_start_before_the_publisher() -> None:
    with opened() as early:
        endpoint = early.endpoint
    with Subscriber(endpoint) as subscriber:
        assert subscriber.receive(0.02) is None
        with opened(endpoint=endpoint) as publisher:
            send(publisher, counts_message(3))
            assert joined(publisher, subscriber) == counts_message(3)


def test_a_stalled_listener_holds_up_nobody(publisher: ZmqPublisher, listen: Listen) -> None:
    """It asked for everything and reads nothing: its queue fills, the publisher and the other listener go on."""
    stalled = listen(publisher.endpoint, high_water=1)
    padding = "x" * 10_000
    with Subscriber(publisher.endpoint, ["counts/1"]) as reader:
        send(publisher, counts_message(0))
        joined(publisher, reader)
        until(lambda: stalled.poll(10), lambda: publisher.serve(0.01))
        started = time.monotonic()
        for number in range(1, 3001):  # 30 MB: more than its queue of 1000 and the kernel's buffers hold
            send(publisher, counts_message(number, invalid_reason=padding))
            if number % 100 == 0:
                until(lambda: (message := reader.receive(1)) and message.sequence == number, lambda: None)  # noqa: B023
        assert time.monotonic() - started < PATIENCE_S
        assert (reader.gaps, publisher.unsent) == (0, 0)
    received = 0
    while stalled.poll(200):
        stalled.recv_multipart()
        received += 1
    assert 0 < received < 3000


def test_the_last_messages_leave_before_it_closes() -> None:
    for _ in range(2):
        with opened() as publisher, Subscriber(publisher.endpoint, ["counts/1"]) as subscriber:
            send(publisher, counts_message(0))
            joined(publisher, subscriber)
            send(publisher, *(counts_message(number, invalid_reason="x" * 20_000) for number in range(1, 201)))
            publisher.__exit__(None, None, None)
            received: list[int] = []
            while len(received) < 200 and (message := subscriber.receive(1)):
                received.append(message.sequence)
        assert received == list(range(1, 201))


def test_closing_does_not_wait_long_for_a_stalled_listener(listen: Listen) -> None:
    with opened(linger_ms=200) as publisher:
        stalled = listen(publisher.endpoint, high_water=1)
        send(publisher, heartbeat())
        until(lambda: stalled.poll(10), lambda: publisher.serve(0.01))
        for number in range(1000):
            send(publisher, counts_message(number, invalid_reason="x" * 10_000))
        started = time.monotonic()
    assert time.monotonic() - started < 2


def test_losses_repeats_and_new_runs_are_told_apart(publisher: ZmqPublisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        send(publisher, counts_message(10))
        joined(publisher, subscriber)
        assert subscriber.gaps == 0  # joining late is no loss
        sent: list[Message] = [counts_message(11), counts_message(11), counts_message(14), heartbeat(3), counts_message(13)]
        sent += [counts_message(5, run_id="run-b"), counts_message(6, run_id="run-b"), counts_message(15, device_id="other")]
        send(publisher, *sent)
        received = []
        while message := subscriber.receive(0.5):
            received.append(message.sequence)
        assert received == [11, 14, 3, 5, 6, 15]
        assert (subscriber.gaps, subscriber.unreadable) == (2, 0)


def test_rubbish_is_counted_and_the_next_message_read(publisher: ZmqPublisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        send(publisher, counts_message(0))
        joined(publisher, subscriber)
        for rubbish in (b"", b"\xff", b'{"schema":"counts/9"}'):
            publisher.publish("counts/1", rubbish)
        send(publisher, counts_message(1))
        message = subscriber.receive(PATIENCE_S)
        assert message
        assert (message.sequence, subscriber.unreadable) == (1, 3)
        assert "counts/9" in subscriber.last_problem


def test_a_message_that_is_too_long_never_reaches_memory() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.XPUB) as stranger:
        port = stranger.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}", ["counts/1"]) as subscriber:
            assert stranger.recv() == b"\x01counts/1"
            stranger.send_multipart([b"counts/1", b" " * (wire.MAX_BYTES + 1)])
            assert subscriber.receive(0.3) is None
            assert subscriber.unreadable == 0


def test_a_local_socket_serves_as_well(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/bus"
    with opened(endpoint=endpoint) as publisher, Subscriber(endpoint) as subscriber:
        send(publisher, heartbeat(1))
        assert joined(publisher, subscriber) == heartbeat(1)


def test_a_time_out_is_no_message_and_takes_the_time_asked_for(publisher: ZmqPublisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        started = time.monotonic()
        assert subscriber.receive(0.2) is None
        assert 0.15 < time.monotonic() - started < 2


@pytest.mark.parametrize(
    "endpoint", ["", "tcp://127.0.0.1", "tcp://*:5556", "tcp://127.0.0.1:*", "ipc://", "ipc://*", "inproc://x"]
)
def test_one_cannot_listen_to_half_an_endpoint(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"tcp://127\.0\.0\.1:5556"):
        Subscriber(endpoint)


def test_a_subscriber_must_be_open() -> None:
    with pytest.raises(PublishError, match="not open"):
        Subscriber().receive(0)
