"""What was missed is fetched: the request socket as a stranger sees it, and the client that uses it, sync and asyncio."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zmq
from bus_keys import Keys
from bus_messages import counts_message, heartbeat
from bus_proxy import Proxy
from bus_record import MemoryRecord
from bus_station import Station, message

import edgecell
from edgecell import client
from edgecell.bus import replay
from edgecell.client import AsyncSubscriber, Position, Subscriber
from edgecell.errors import PublishError
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import CountsMessage, Heartbeat, to_wire

PATIENCE_S = 30.0
SCHEMAS = Path(edgecell.__file__).parent / "schemas"


def schema(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text()))


def asked(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"schema": "replay/1", "id": number, "topic": "counts/1", "run_id": "run-a", "after": -1, **changes}


class Desk:
    """A publisher with a record of 500 messages, and a stranger's socket to ask it."""

    def __init__(self, publisher: ZmqPublisher, socket: "zmq.Socket[bytes]") -> None:
        self.publisher, self._socket = publisher, socket

    def ask(self, request: bytes) -> dict[str, Any]:
        self._socket.send(request)
        deadline = time.monotonic() + PATIENCE_S
        while not self._socket.poll(0):
            self.publisher.serve(0.01)
            assert time.monotonic() < deadline
        answer: dict[str, Any] = json.loads(self._socket.recv())
        schema("replayed-1").validate(answer)
        return answer


Asking = Callable[..., Desk]


@pytest.fixture
def desk() -> Iterator[Desk]:
    publisher = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*"))
    publisher.replay_from(MemoryRecord([*(message(number, "run-a") for number in range(500)), message(0, "run-b")]))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with publisher, context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(publisher.replay_endpoint)
        yield Desk(publisher, socket)


def test_a_stranger_reads_all_pages(desk: Desk) -> None:
    """As `deploy/wire.md` says it: ask after the last one until a page is empty; each message is as it was on the bus."""
    validator = schema("counts-1")
    heard: list[int] = []
    pages = 0
    while True:
        request = asked(pages, after=heard[-1] if heard else -1)
        schema("replay-1").validate(request)
        answer = desk.ask(json.dumps(request).encode())
        assert (answer["id"], answer["error"]) == (pages, "")
        for document in answer["messages"]:
            validator.validate(document)
            assert document["cumulative"]["red_blood_cell"] == 2210 + document["sequence"]
            assert document["sample_id"] == ""
        if not answer["messages"]:
            break
        heard += [document["sequence"] for document in answer["messages"]]
        pages += 1
    assert heard == list(range(500))
    assert pages > 2
    assert answer["next_run"] == "run-b"
    assert desk.ask(json.dumps(asked(run_id="run-b", after=0)).encode())["next_run"] == ""


COMMANDS = [
    b"",
    b"stop",
    b'{"schema":"stop/1"}',
    b'{"command":"shutdown","id":1}',
    json.dumps({**asked(), "schema": "erase/1"}).encode(),
    json.dumps(asked(topic="heartbeat/1")).encode(),
    json.dumps(asked(after=-2)).encode(),
    json.dumps(asked(run_id="x" * 200)).encode(),
    json.dumps(asked(id="1; rm -rf /")).encode(),
    b"[" * 1000,
    b"\xff" * 1000,
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_is_taken_over_the_bus(desk: Desk, command: bytes) -> None:
    before = desk.publisher.refused
    answer = desk.ask(command)
    assert (answer["messages"], answer["id"]) == ([], 0)
    assert "answers nothing else" in answer["error"]
    assert desk.publisher.refused == before + 1


def test_what_is_sent_to_the_bus_itself_is_ignored(desk: Desk) -> None:
    """XPUB hands up whatever a listener sends; only subscriptions mean something."""
    with zmq.Context() as context, context.socket(zmq.XSUB) as plain:
        plain.setsockopt(zmq.LINGER, 0)
        plain.connect(desk.publisher.endpoint)
        desk.publisher.publish("counts/1", b"{}")
        for words in (b"stop", b"\x02erase", b"\x01counts/1"):
            plain.send(words)
        deadline = time.monotonic() + PATIENCE_S
        while not plain.poll(10):
            desk.publisher.serve(0.01)
            assert time.monotonic() < deadline
        assert plain.recv_multipart() == [b"counts/1", b"{}"]


def test_an_unknown_run_has_no_messages(desk: Desk) -> None:
    answer = desk.ask(json.dumps(asked(run_id="elsewhere")).encode())
    assert (answer["messages"], answer["next_run"], answer["error"]) == ([], "", "")


def test_who_asks_too_often_is_told_when_to_come_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "RATE", 1.0)
    monkeypatch.setattr(replay, "BURST", 3.0)
    answers = [desk.ask(json.dumps(asked(after=498)).encode()) for _ in range(4)]
    assert [len(answer["messages"]) for answer in answers] == [1, 1, 1, 0]
    assert answers[-1]["error"] == "asked too often"
    assert 0 < answers[-1]["retry_s"] <= 1
    time.sleep(answers[-1]["retry_s"])
    assert len(desk.ask(json.dumps(asked(after=498)).encode())["messages"]) == 1


def test_a_request_that_is_too_long_ends_that_connection_only(desk: Desk) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as greedy:
        greedy.setsockopt(zmq.LINGER, 0)
        greedy.connect(desk.publisher.replay_endpoint)
        greedy.send(b" " * (replay.MAX_REQUEST_BYTES + 1))
        for _ in range(10):
            desk.publisher.serve(0.01)
        assert not greedy.poll(0)
    assert len(desk.ask(json.dumps(asked(after=498)).encode())["messages"]) == 1


def test_serving_keeps_nobody_waiting_however_many_ask(desk: Desk) -> None:
    """Fifty listeners ask without reading their answers: a visit stays within its time, memory within PENDING pages each."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context:
        sockets = [context.socket(zmq.DEALER) for _ in range(50)]
        for each in sockets:
            each.setsockopt(zmq.LINGER, 0)
            each.setsockopt(zmq.RCVHWM, 1)
            each.connect(desk.publisher.replay_endpoint)
            for number in range(20):
                each.send(json.dumps(asked(number)).encode())
        slowest_s = 0.0
        for _ in range(200):
            start = time.monotonic()
            desk.publisher.serve(0)
            slowest_s = max(slowest_s, time.monotonic() - start)
        for each in sockets:
            each.close()
    assert slowest_s < 1  # 8 ms when nothing else runs here; all thousand at once would take 4 s
    assert len(desk.ask(json.dumps(asked(after=498)).encode())["messages"]) == 1


def test_without_a_record_nothing_listens_for_requests() -> None:
    with ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*")) as publisher:
        assert publisher.replay_endpoint == ""
        assert publisher.outgoing(heartbeat()) == heartbeat()


def test_a_heartbeat_says_where_to_ask_and_counts_name_the_sample_where_allowed() -> None:
    for allowed in (False, True):
        publisher = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*", sample_ids=allowed))
        publisher.replay_from(MemoryRecord())
        with publisher:
            assert publisher.outgoing(heartbeat()) == heartbeat(replay=publisher.replay_endpoint)
            assert publisher.outgoing(counts_message()) == counts_message(sample_id="slide-17" if allowed else "")


def test_reasons_do_not_name_the_sample_either() -> None:
    """Pictures lie in folders that are named after the sample, and errors name files."""
    reason = "cannot read /data/slide-17/slide-17_001.png, slide-171.png: no such file"
    publisher = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*"))
    publisher.conceal("slide-17")
    beat = publisher.outgoing(heartbeat(state="failed", reason=reason))  # also before any counts
    counts = publisher.outgoing(counts_message(valid=False, invalid_reason=reason, remarks=(reason,)))
    assert isinstance(counts, CountsMessage)
    assert isinstance(beat, Heartbeat)
    for text in (counts.invalid_reason, *counts.remarks, beat.reason):
        assert text == "cannot read /data/(sample)/(sample)_001.png, slide-171.png: no such file"


def test_fetching_an_earlier_sample_does_not_make_a_heartbeat_name_this_one() -> None:
    old = counts_message(0, run_id="old", sample_id="slide-9", remarks=("slide-9.png", "slide-17.png"))
    publisher = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*"))
    publisher.replay_from(MemoryRecord([old]))
    with publisher, zmq.Context() as context, context.socket(zmq.DEALER) as listener:
        publisher.conceal("slide-17")
        listener.connect(publisher.replay_endpoint)
        listener.send(json.dumps({"schema": "replay/1", "id": 1, "topic": "counts/1", "run_id": "old", "after": -1}).encode())
        while not listener.poll(1):
            publisher.serve(1)
        [fetched] = json.loads(listener.recv())["messages"]
        assert (fetched["sample_id"], fetched["remarks"]) == ("", ["(sample).png", "slide-17.png"])
        beat = publisher.outgoing(heartbeat(state="degraded", reason="no frame from /data/slide-17"))
        assert isinstance(beat, Heartbeat)
        assert beat.reason == "no frame from /data/(sample)"


def test_the_next_port_is_taken_unless_told_otherwise(tmp_path: Path) -> None:
    publisher = ZmqPublisher(ZmqPublisher.Options(endpoint=f"ipc://{tmp_path}/bus"))
    publisher.replay_from(MemoryRecord())
    with publisher:
        assert publisher.replay_endpoint == f"ipc://{tmp_path}/bus.replay"
    with Station() as one:
        other = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*", replay=one.publisher.replay_endpoint))
        other.replay_from(MemoryRecord())
        with pytest.raises(PublishError, match=r"in use\. Fix: set another replay under \[publisher\]"), other:
            pass


class Heard:
    """What a subscriber gave: numbers by run, checked to be what the station made."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[int]] = {}

    def __call__(self, received: object) -> None:
        if isinstance(received, CountsMessage):
            assert received.cumulative == message(received.sequence, received.run_id).cumulative
            self.numbers.setdefault(received.run_id, []).append(received.sequence)

    def last(self, run_id: str = "run-a") -> int:
        return self.numbers.get(run_id, [-1])[-1]

    def is_whole(self, run_id: str = "run-a") -> bool:
        numbers = self.numbers[run_id]
        return numbers == list(range(numbers[0], numbers[-1] + 1))


def listen(bus: Subscriber, heard: Heard, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        heard(bus.receive(0.05))
        assert time.monotonic() < deadline, f"nothing within {PATIENCE_S} s: {bus.last_problem}"


def test_a_listener_that_stalled_comes_back_and_lacks_nothing() -> None:
    """It reads nothing while thousands of messages go by: its queue fills, the rest is dropped, and fetched afterwards."""
    heard = Heard()
    with Station(pause_s=0, high_water=50) as station, Subscriber(station.endpoint) as bus:
        listen(bus, heard, lambda: heard.last() > 5)
        station.until(station.sent + 8000)
        last = station.stop()
        listen(bus, heard, lambda: heard.last() >= last)
        assert bus.gaps == 0
        assert bus.replayed > 1000
    assert heard.is_whole()
    assert station.slowest_s < 1


def test_a_listener_goes_on_across_runs_of_the_device() -> None:
    """Cut off in run a, the device starts runs b and c in the meantime, at the same place."""
    heard, record = Heard(), MemoryRecord()
    with Station(run_id="run-a", record=record) as station:
        endpoint, replay_at = station.endpoint, station.publisher.replay_endpoint
        with Proxy(endpoint) as proxy, Subscriber(proxy.endpoint, replay=replay_at) as bus:
            listen(bus, heard, lambda: heard.last() > 5)
            proxy.stop()
            station.until(station.sent + 30)
            station.__exit__()
            ends = {"run-a": station.sent}
            for run_id in ("run-b", "run-c"):
                with Station(run_id=run_id, record=record, endpoint=endpoint, replay=replay_at) as following:
                    following.until(20)
                    if run_id == "run-c":
                        proxy.cut()
                        proxy.flow()
                        ends[run_id] = following.stop()
                        listen(bus, heard, lambda: heard.last("run-c") >= ends["run-c"])
                ends[run_id] = following.sent
            assert bus.gaps == 0
    assert {run_id: numbers[-1] for run_id, numbers in heard.numbers.items()} == ends
    assert all(heard.is_whole(run_id) for run_id in ends)
    assert heard.numbers["run-b"][0] == heard.numbers["run-c"][0] == 0


def test_a_program_that_starts_again_lacks_nothing() -> None:
    heard = Heard()
    with Station() as station:
        with Subscriber(station.endpoint) as first:
            listen(first, heard, lambda: heard.last() > 5)
        station.until(station.sent + 100)
        position = Position(device_id="bench-3", run_id="run-a", sequence=heard.last())
        with Subscriber(station.endpoint, ["counts/1"], after=position) as second:
            last = station.stop()
            listen(second, heard, lambda: heard.last() >= last)
            assert second.gaps == 0
    assert heard.is_whole()


def test_asyncio_hears_the_same() -> None:
    """Two of them at once, one of which sleeps through most of it."""
    awake, asleep = Heard(), Heard()

    async def hear(bus: AsyncSubscriber, heard: Heard, until: Callable[[], bool]) -> None:
        while not until():
            heard(await bus.receive(0.05))

    async def both(station: Station) -> None:
        async with AsyncSubscriber(station.endpoint) as one, AsyncSubscriber(station.endpoint) as other:
            await asyncio.gather(hear(one, awake, lambda: awake.last() > 5), hear(other, asleep, lambda: asleep.last() > 5))
            await hear(one, awake, lambda: awake.last() > 3000)
            last = station.stop()
            await asyncio.gather(
                hear(one, awake, lambda: awake.last() >= last), hear(other, asleep, lambda: asleep.last() >= last)
            )
            assert (one.gaps, other.gaps) == (0, 0)
            assert other.replayed > 100

    with Station(pause_s=0, high_water=50) as station:
        asyncio.run(asyncio.wait_for(both(station), PATIENCE_S))
    assert awake.is_whole()
    assert asleep.is_whole()


def test_asyncio_iterates_and_can_be_cancelled() -> None:
    silent = AsyncSubscriber("tcp://127.0.0.1:1")

    async def first_three(endpoint: str) -> list[int]:
        numbers: list[int] = []
        async with AsyncSubscriber(endpoint, ["counts/1"]) as bus:
            async for each in bus:
                numbers.append(each.sequence)
                if len(numbers) == 3:
                    break
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(AsyncSubscriber.receive(silent, 60), 0.2)
        return numbers

    async def main(endpoint: str) -> list[int]:
        async with silent:
            return await first_three(endpoint)

    with Station() as station:
        numbers = asyncio.run(main(station.endpoint))
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_replays_go_through_the_same_keys(tmp_path: Path) -> None:
    heard, keys = Heard(), Keys(tmp_path)
    reader = keys.listener("reader")
    station = Station(pause_s=0, high_water=50, server_key=keys.device, allow=keys.allow)
    with station, Subscriber(station.endpoint, key=reader, server_key=keys.device_public) as bus:
        listen(bus, heard, lambda: heard.last() > 5)
        station.until(station.sent + 5000)
        last = station.stop()
        listen(bus, heard, lambda: heard.last() >= last)
        assert (bus.gaps, bus.replayed > 100) == (0, True)
    assert heard.is_whole()


def test_what_the_record_lost_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    with Station(pause_s=0, high_water=50) as station, Subscriber(station.endpoint) as bus:
        listen(bus, heard, lambda: heard.last() > 5)
        station.until(station.sent + 5000)
        last = station.stop()
        lost = [last - 20, last - 10]
        for number in lost:
            del station.record.runs["run-a"][number]
        listen(bus, heard, lambda: heard.last() >= last)
        assert bus.gaps == 2
    assert sorted(set(range(heard.numbers["run-a"][0], last + 1)) - set(heard.numbers["run-a"])) == lost


def test_an_announced_place_that_makes_no_sense_is_not_asked() -> None:
    """A device that says `ipc://...` to another machine, or no endpoint at all."""
    open_bus = ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*"))
    received: list[int] = []
    with open_bus as publisher, Subscriber(publisher.endpoint) as bus:
        for number in (0, 7, 8):
            deadline = time.monotonic() + PATIENCE_S
            while number not in received:
                publisher.publish(*to_wire(heartbeat(number, replay="tcp://*:*")))
                publisher.publish(*to_wire(counts_message(number)))
                publisher.serve(0.01)
                while each := bus.receive(0.01):
                    received += [each.sequence] if isinstance(each, CountsMessage) else []
                assert time.monotonic() < deadline
        assert received == [0, 7, 8]
        assert bus.gaps == 6
        assert "wildcard" in bus.last_problem


def test_a_silent_line_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AGAIN_S", 0.1)
    heard = Heard()
    with Station() as station, Proxy(station.endpoint) as proxy, Subscriber(proxy.endpoint) as bus:
        listen(bus, heard, lambda: heard.last() > 5)
        proxy.stop()
        deadline = time.monotonic() + PATIENCE_S
        while proxy.connections < 3:
            bus.receive(0.05)
            assert time.monotonic() < deadline
        proxy.flow()
