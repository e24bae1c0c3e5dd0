"""An encrypted bus over real sockets: who has no allowed key gets no byte, and nobody on the way can read one."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from bus_keys import Keys
from bus_messages import counts_message, heartbeat
from bus_proxy import Proxy
from bus_record import MemoryRecord

from edgecell import client
from edgecell.bus import curve
from edgecell.client import Subscriber
from edgecell.errors import SettingsError
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import Message, to_wire

PATIENCE_S = 20.0
AGAIN_S = 0.5
"""Silence after which a listener connects anew; 15 in earnest."""
WAITED = 80
"""Looks, of a hundredth of a second each, after which what has not come is not coming: an allowed one needs 5 to 10."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AGAIN_S", AGAIN_S)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


def guarded(keys: Keys, endpoint: str = "tcp://127.0.0.1:*", **options: Any) -> ZmqPublisher:
    return ZmqPublisher(ZmqPublisher.Options(endpoint=endpoint, server_key=keys.device, allow=keys.allow, **options))


@pytest.fixture
def publisher(keys: Keys) -> Iterator[ZmqPublisher]:
    publisher = guarded(keys)
    publisher.replay_from(MemoryRecord(counts_message(number) for number in range(100)))
    with publisher:
        yield publisher


def hears(publisher: ZmqPublisher, subscriber: Subscriber, *, looks: int = 3000) -> Message | None:
    """What it hears while the publisher keeps sending."""
    for number in range(looks):
        publisher.publish(*to_wire(publisher.outgoing(heartbeat(number))))
        publisher.publish(*to_wire(publisher.outgoing(counts_message(number))))
        publisher.serve(0.005)
        if message := subscriber.receive(0.005):
            return message
    return None


def allowed(keys: Keys, endpoint: str, name: str = "reader", **options: Any) -> Subscriber:
    return Subscriber(endpoint, key=keys.listener(name), server_key=keys.device_public, **options)


def test_an_allowed_key_hears_and_another_beside_it_does_not(publisher: ZmqPublisher, keys: Keys) -> None:
    stranger = Subscriber(publisher.endpoint, key=keys.listener("stranger", allowed=False), server_key=keys.device_public)
    with allowed(keys, publisher.endpoint) as reader, stranger:
        assert hears(publisher, reader)
        assert hears(publisher, stranger, looks=WAITED) is None
        assert hears(publisher, reader)


def test_a_wrong_server_key_hears_nothing(publisher: ZmqPublisher, keys: Keys, tmp_path: Path) -> None:
    """A listener finds out that this is not the device that it was set up for."""
    _, other = curve.new_keys("other", tmp_path)
    with Subscriber(publisher.endpoint, key=keys.listener("reader"), server_key=other) as reader:
        assert hears(publisher, reader, looks=WAITED) is None


Setting = Callable[["zmq.Socket[bytes]", Keys], None]


def no_security(plain: "zmq.Socket[bytes]", keys: Keys) -> None:
    pass


def password(plain: "zmq.Socket[bytes]", keys: Keys) -> None:
    plain.setsockopt(zmq.PLAIN_USERNAME, b"admin")
    plain.setsockopt(zmq.PLAIN_PASSWORD, b"admin")


def unknown_key(plain: "zmq.Socket[bytes]", keys: Keys) -> None:
    public, secret = zmq.curve_keypair()
    plain.setsockopt(zmq.CURVE_PUBLICKEY, public)
    plain.setsockopt(zmq.CURVE_SECRETKEY, secret)
    plain.setsockopt(zmq.CURVE_SERVERKEY, curve.public_key(keys.device_public))


def somebody_else_s_public_key(plain: "zmq.Socket[bytes]", keys: Keys) -> None:
    """Public keys are no secret; without the private half one is not believed."""
    keys.listener("reader")
    _, secret = zmq.curve_keypair()
    plain.setsockopt(zmq.CURVE_PUBLICKEY, curve.public_key(keys.allow / "reader.bus.pub"))
    plain.setsockopt(zmq.CURVE_SECRETKEY, secret)
    plain.setsockopt(zmq.CURVE_SERVERKEY, curve.public_key(keys.device_public))


@pytest.mark.parametrize("kind", [zmq.SUB, zmq.DEALER], ids=["bus", "replay"])
@pytest.mark.parametrize("setting", [no_security, password, unknown_key, somebody_else_s_public_key])
def test_not_a_byte_of_data_without_an_allowed_key(publisher: ZmqPublisher, keys: Keys, setting: Setting, kind: int) -> None:
    """Neither does the socket give anything, nor is anything readable among all bytes that went over the line."""
    request = json.dumps({"schema": "replay/1", "id": 1, "topic": "counts/1", "run_id": "run-a", "after": -1}).encode()
    with Proxy(publisher.endpoint if kind == zmq.SUB else publisher.replay_endpoint) as proxy:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with context, context.socket(kind) as plain:
            plain.setsockopt(zmq.LINGER, 0)
            setting(plain, keys)
            if kind == zmq.SUB:
                plain.setsockopt(zmq.SUBSCRIBE, b"")
            plain.connect(proxy.endpoint)
            if kind == zmq.DEALER:
                plain.send(request)
            for number in range(WAITED):
                publisher.publish(*to_wire(counts_message(number)))
                publisher.serve(0.005)
                assert not plain.poll(5)
        assert proxy.connections
        assert proxy.seen  # greetings went by
        assert not readable(bytes(proxy.seen))


def test_nothing_is_readable_on_the_way_of_those_who_may(publisher: ZmqPublisher, keys: Keys) -> None:
    with Proxy(publisher.endpoint) as proxy, allowed(keys, proxy.endpoint) as reader:
        assert hears(publisher, reader)
        assert len(proxy.seen) > 1000
        assert not readable(bytes(proxy.seen))


def test_the_proxy_would_have_seen_it() -> None:
    """On an open bus: else the two tests above would prove nothing."""
    with ZmqPublisher(ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*")) as publisher, Proxy(publisher.endpoint) as proxy:
        with Subscriber(proxy.endpoint) as reader:
            assert hears(publisher, reader)
        assert readable(bytes(proxy.seen))


def readable(line: bytes) -> bool:
    return any(words in line for words in (b"counts", b"schema", b"bench-3", b"neutrophil", b"run-a", b"heartbeat"))


def test_a_revoked_listener_is_cut_off_and_the_others_go_on(publisher: ZmqPublisher, keys: Keys) -> None:
    with allowed(keys, publisher.endpoint, "first") as first, allowed(keys, publisher.endpoint, "second") as second:
        assert hears(publisher, first)
        assert hears(publisher, second)
        curve.revoke("first", keys.allow)
        time.sleep(0.6)  # longer than the time between two looks at the folder
        publisher.serve(0)
        while first.receive(0.1):  # what it had been sent before
            pass
        assert hears(publisher, second)
        assert hears(publisher, first, looks=WAITED) is None
        keys.allow.joinpath("first.bus.revoked").rename(keys.allow / "first.bus.pub")
        assert hears(publisher, first)


def test_a_listener_is_let_in_while_it_runs(publisher: ZmqPublisher, keys: Keys) -> None:
    late = keys.listener("late", allowed=False)
    with Subscriber(publisher.endpoint, key=late, server_key=keys.device_public) as reader:
        assert hears(publisher, reader, looks=WAITED) is None
        shutil.copy(late.with_name("late.bus.pub"), keys.allow)
        assert hears(publisher, reader)


def test_who_was_cut_off_by_another_s_leaving_has_lost_nothing(keys: Keys) -> None:
    """All connections end when one is revoked; what was published meanwhile is fetched."""
    record = MemoryRecord()
    publisher = guarded(keys)
    publisher.replay_from(record)
    heard: list[int] = []
    with publisher, allowed(keys, publisher.endpoint, "bad") as bad, allowed(keys, publisher.endpoint, "good") as good:

        def step(number: int) -> None:
            record.add(counts_message(number))
            publisher.publish(*to_wire(publisher.outgoing(heartbeat(number))))
            publisher.publish(*to_wire(counts_message(number)))
            publisher.serve(0.01)
            while message := good.receive(0.001):
                heard.extend([message.sequence] if message.__struct_config__.tag == "counts/1" else [])

        number = 0
        deadline = time.monotonic() + PATIENCE_S
        while not heard or not bad.receive(0.001):
            step(number := number + 1)
            assert time.monotonic() < deadline
        curve.revoke("bad", keys.allow)
        end = number + 150
        while heard[-1] < end:
            step(number := number + 1)
            assert time.monotonic() < deadline
    assert heard == list(range(heard[0], heard[-1] + 1))
    assert (good.gaps, good.replayed > 0) == (0, True)


def test_a_folder_that_others_can_write_allows_nobody(
    publisher: ZmqPublisher, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with allowed(keys, publisher.endpoint) as reader:
        assert hears(publisher, reader)
        keys.allow.chmod(0o777)
        time.sleep(0.6)
        publisher.serve(0)
        while reader.receive(0.1):
            pass
        assert hears(publisher, reader, looks=WAITED) is None
    assert "nobody may listen" in caplog.text
    assert "chmod 700" in caplog.text


def test_any_interface_may_be_used_with_keys(keys: Keys) -> None:
    with guarded(keys, "tcp://0.0.0.0:*") as publisher:
        port = publisher.endpoint.rpartition(":")[2]
        with allowed(keys, f"tcp://127.0.0.1:{port}") as reader:
            assert hears(publisher, reader)
    with guarded(keys, "tcp://*:*"):
        pass


def test_a_local_socket_may_be_guarded_too(keys: Keys, tmp_path: Path) -> None:
    with guarded(keys, f"ipc://{tmp_path}/bus") as publisher, allowed(keys, publisher.endpoint) as reader:
        assert hears(publisher, reader)


def open_folder(keys: Keys) -> str:
    keys.allow.chmod(0o770)
    return "chmod 700"


def open_key(keys: Keys) -> str:
    keys.device.chmod(0o640)
    return "chmod 600"


def open_listener(keys: Keys) -> str:
    keys.listener("reader")
    (keys.allow / "reader.bus.pub").chmod(0o666)
    return "chmod 644"


def no_folder(keys: Keys) -> str:
    keys.allow.rmdir()
    return "mkdir -m 700"


def no_key(keys: Keys) -> str:
    keys.device.unlink()
    return "edgecell keys new"


def rubbish(keys: Keys) -> str:
    keys.device.write_text("#" * 40 + "\n")
    return r"give the file that ends with \.bus\.key"


def the_other_half(keys: Keys) -> str:
    keys.device = keys.device_public
    return "other half"


def torn_listener(keys: Keys) -> str:
    (keys.allow / "torn.bus.pub").write_text("rq:rM>}U?@Lns47E1%")
    return "torn.bus.pub holds no key"


Damage = Callable[[Keys], str]


@pytest.mark.parametrize(
    "damage", [open_folder, open_key, open_listener, no_folder, no_key, rubbish, the_other_half, torn_listener]
)
def test_keys_that_cannot_be_trusted_are_refused_at_the_start(keys: Keys, damage: Damage) -> None:
    fix = damage(keys)
    publisher = guarded(keys)
    for _ in range(2):
        with pytest.raises(SettingsError, match=fix), publisher:
            pass


@pytest.mark.parametrize("left", ["server_key", "allow"])
def test_half_of_it_is_refused_with_the_command_that_makes_keys(keys: Keys, left: str) -> None:
    given = {"server_key": keys.device, "allow": keys.allow}
    with pytest.raises(SettingsError, match="edgecell keys new device --kind bus"):
        ZmqPublisher(ZmqPublisher.Options(**{left: given[left]}))  # type: ignore[arg-type]


def test_a_listener_needs_both_keys_and_keeps_its_own_to_itself(keys: Keys) -> None:
    own = keys.listener("reader")
    with pytest.raises(SettingsError, match="give both"):
        Subscriber(key=own)
    own.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        Subscriber(key=own, server_key=keys.device_public)
    own.chmod(0o600)
    with pytest.raises(SettingsError, match="other half"):
        Subscriber(key=own, server_key=own)


def test_refusals_are_counted_and_do_not_fill_the_log(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with guarded(keys) as publisher, context:
        sockets = [context.socket(zmq.SUB) for _ in range(20)]
        for each in sockets:
            each.setsockopt(zmq.LINGER, 0)
            unknown_key(each, keys)
            each.connect(publisher.endpoint)
        deadline = time.monotonic() + PATIENCE_S
        while publisher.refused < 20:
            publisher.serve(0.05)
            assert time.monotonic() < deadline
        for each in sockets:
            each.close()
    assert caplog.text.count("is not allowed in") == 1
