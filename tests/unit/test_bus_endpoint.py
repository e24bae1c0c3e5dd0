import pytest

from edgecell.bus.endpoint import beside, bindable, seen_from
from edgecell.errors import SettingsError


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "10.0.0.7", "eth0", "128.0.0.1"])  # noqa: S104 that is what it is about
def test_what_others_can_reach_must_be_encrypted(host: str) -> None:
    with pytest.raises(SettingsError, match="edgecell keys new"):
        bindable(f"tcp://{host}:5556", encrypted=False)
    assert bindable(f"tcp://{host}:5556", encrypted=True) == f"tcp://{host}:5556"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_what_only_this_machine_can_reach_may_be_open(host: str) -> None:
    assert bindable(f"tcp://{host}:5556", encrypted=False).endswith(":5556")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5557"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("tcp://[::1]:7", "tcp://[::1]:8"),
        ("ipc:///run/bus", "ipc:///run/bus.replay"),
        ("ipc://@bus", "ipc://@bus.replay"),
        ("ipc://*", "ipc://*"),
    ],
)
def test_replays_are_asked_for_next_door(endpoint: str, expected: str) -> None:
    assert beside(endpoint) == expected


def test_the_last_port_has_no_next_one() -> None:
    with pytest.raises(SettingsError, match=r"replay = \.\.\. under \[publisher\]"):
        beside("tcp://127.0.0.1:65535")


@pytest.mark.parametrize(
    ("endpoint", "announced", "expected"),
    [
        ("tcp://bench-3:5556", "tcp://0.0.0.0:5557", "tcp://bench-3:5557"),
        ("tcp://bench-3:15556", "tcp://127.0.0.1:5557", "tcp://bench-3:5557"),
        ("tcp://127.0.0.1:5556", "ipc:///run/bus.replay", "ipc:///run/bus.replay"),
        ("ipc:///run/bus", "tcp://127.0.0.1:5557", "tcp://127.0.0.1:5557"),
    ],
)
def test_a_listener_asks_the_host_that_it_knows(endpoint: str, announced: str, expected: str) -> None:
    assert seen_from(endpoint, announced) == expected


@pytest.mark.parametrize("announced", ["", "nonsense", "tcp://*:*", "tcp://0.0.0.0:*", "ipc:///run/bus.replay", "inproc://x"])
def test_an_announcement_of_no_use_is_refused(announced: str) -> None:
    with pytest.raises(SettingsError):
        seen_from("tcp://bench-3:5556", announced)
