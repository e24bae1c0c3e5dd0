"""Every publisher in the TABLE, and what only the ZeroMQ one must do."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from bus_messages import counts_message, heartbeat
from bus_record import MemoryRecord

from edgecell import plugins, wire
from edgecell.errors import PublishError, SettingsError
from edgecell.protocols import Publisher
from edgecell.publishers import TABLE
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import Heartbeat

LOCAL: dict[str, dict[str, Any]] = {"zmq": {"endpoint": "tcp://127.0.0.1:*"}}
"""Options for a publisher of each kind that any machine can open."""


@pytest.fixture(params=sorted(TABLE))
def make(request: pytest.FixtureRequest) -> Callable[[], Publisher]:
    part = plugins.load("publisher", TABLE, request.param)
    options = msgspec.convert(LOCAL[request.param], part.Options)
    return lambda: part(options)


def test_it_says_whether_it_can_be_used(make: Callable[[], Publisher]) -> None:
    probe = make().probe()
    assert probe.usable
    assert probe.version
    assert not probe.missing


def test_it_refuses_what_no_listener_would_take(make: Callable[[], Publisher]) -> None:
    with make() as publisher, pytest.raises(PublishError, match="more than"):
        publisher.publish("counts/1", b" " * (wire.MAX_BYTES + 1))


def test_publishing_without_a_listener_goes_on(make: Callable[[], Publisher]) -> None:
    with make() as publisher:
        for number in range(3000):
            publisher.publish("counts/1", b"%d" % number)
        publisher.serve(0)


def test_it_opens_again_after_it_was_closed(make: Callable[[], Publisher]) -> None:
    publisher = make()
    for _ in range(2):
        with publisher as same:
            assert same is publisher
            publisher.publish("counts/1", b"{}")


def test_it_must_be_open(make: Callable[[], Publisher]) -> None:
    publisher = make()
    with pytest.raises(PublishError, match="not open"):
        publisher.publish("counts/1", b"{}")
    with pytest.raises(PublishError, match="not open"):
        publisher.serve(0)


def test_an_error_inside_passes_through(make: Callable[[], Publisher]) -> None:
    with pytest.raises(ZeroDivisionError), make() as publisher:
        publisher.publish("counts/1", b"%d" % (1 // 0))


def test_samples_have_no_name_on_the_bus(make: Callable[[], Publisher]) -> None:
    """Unless the options allow it; all else of a message is as it was."""
    sent = make().outgoing(counts_message(3))
    assert sent == counts_message(3, sample_id="")


def test_a_heartbeat_says_whether_anything_is_recorded(make: Callable[[], Publisher]) -> None:
    beat, recording = heartbeat(), make()
    with make() as publisher:
        assert publisher.outgoing(beat) == beat
    recording.replay_from(MemoryRecord())
    with recording:
        recording.outgoing(counts_message(3))
        told = recording.outgoing(beat)
        assert isinstance(told, Heartbeat)
        assert (told.counts_sequence, bool(told.replay)) == (3, True)


def test_unknown_options_are_refused(make: Callable[[], Publisher]) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"endpont": "x"}, type(make()).Options)  # type: ignore[attr-defined]


def publisher_on(endpoint: str) -> ZmqPublisher:
    return ZmqPublisher(ZmqPublisher.Options(endpoint=endpoint))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:*", "tcp://localhost:*", "tcp://127.0.0.9:*", "tcp://[::1]:*", "ipc://*"]
)
def test_the_bound_endpoint_can_be_read(endpoint: str) -> None:
    if "[" in endpoint and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with publisher_on(endpoint) as publisher:
        assert "*" not in publisher.endpoint
        assert publisher.endpoint.partition("://")[2]


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


MALFORMED = [
    "",
    "5556",
    "127.0.0.1:5556",
    "tcp://",
    "tcp://127.0.0.1",
    "tcp://:5556",
    "tcp://127.0.0.1:0",
    "tcp://127.0.0.1:65536",
]
MALFORMED += ["tcp://127.0.0.1:x", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:٣", "udp://127.0.0.1:5556", "inproc://bus", "ipc://"]


@pytest.mark.parametrize("endpoint", MALFORMED)
def test_a_malformed_endpoint_is_refused_before_anything_opens(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"write e\.g\. tcp://127\.0\.0\.1:5556"):
        publisher_on(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:5556", "tcp://0.0.0.0:5556", "tcp://10.0.0.7:5556", "tcp://eth0:5556", "tcp://[::]:1"]
)
def test_other_machines_are_kept_out(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="needs keys"):
        publisher_on(endpoint)


def test_a_port_in_use_is_named_with_the_way_out(taken: int) -> None:
    with (
        pytest.raises(PublishError, match=f"127.0.0.1:{taken}: it is in use") as caught,
        publisher_on(f"tcp://127.0.0.1:{taken}"),
    ):
        pass
    assert f"sport = :{taken}" in caught.value.fix
    assert caught.value.exit_code == 7


def test_a_socket_in_use_is_not_taken_over(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/bus"
    with (
        publisher_on(endpoint),
        pytest.raises(PublishError, match="in use"),
        publisher_on(endpoint),
    ):
        pass


def test_a_socket_left_behind_is_used_again(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "bus"))
    with publisher_on(f"ipc://{tmp_path}/bus") as publisher:
        publisher.publish("counts/1", b"{}")


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("precious")
    with pytest.raises(PublishError, match="is no socket"), publisher_on(f"ipc://{tmp_path}/results.csv"):
        pass
    assert (tmp_path / "results.csv").read_text() == "precious"
    with pytest.raises(PublishError, match="mkdir -p"), publisher_on(f"ipc://{tmp_path}/none/bus"):
        pass
    with pytest.raises(PublishError, match="cannot listen"), publisher_on(f"ipc://{tmp_path}/{'x' * 200}"):
        pass


def test_a_refused_endpoint_leaves_nothing_open(taken: int) -> None:
    publisher = publisher_on(f"tcp://127.0.0.1:{taken}")
    for _ in range(2):
        with pytest.raises(PublishError), publisher:
            pass
    with pytest.raises(PublishError, match="not open"):
        publisher.publish("counts/1", b"{}")


def test_listeners_cannot_send_much(tmp_path: Path) -> None:
    """A subscription longer than any topic ends that listener's connection, not the publisher."""
    with publisher_on("tcp://127.0.0.1:*") as publisher, zmq.Context() as context, context.socket(zmq.SUB) as greedy:
        greedy.setsockopt(zmq.LINGER, 0)
        greedy.setsockopt(zmq.SUBSCRIBE, b"x" * 100_000)
        greedy.connect(publisher.endpoint)
        publisher.publish("counts/1", b"{}")
        for _ in range(5):
            publisher.serve(0.02)
            publisher.publish("counts/1", b"{}")
        assert publisher.unsent == 0
