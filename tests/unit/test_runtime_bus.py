"""What a lost bus has to say, once there is somebody to say it to."""

from pathlib import Path

import pytest
from bus_messages import counts_message

from edgecell import clock
from edgecell.publishers.zmq import ZmqOptions, ZmqPublisher
from edgecell.runtime.bus import TOLD_FOR_S, Bus


def test_the_messages_after_a_loss_still_tell_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones before were heard by nobody, and listeners take a while to come back."""
    with ZmqPublisher(ZmqOptions(endpoint=f"ipc://{tmp_path}/bus", linger_ms=0)) as publisher:
        bus = Bus(publisher, "slide-17")
        bus.publish(counts_message(0))
        assert bus.troubles == {}
        (tmp_path / "bus").unlink()
        bus.serve()
        assert "its socket was removed" in bus.troubles["bus"].text
        assert [each.degrades for each in bus.troubles.values()] == [True]
        bus.publish(counts_message(1))
        assert bus.unsent == 1
        deadline_ns = clock.monotonic_ns() + 10_000_000_000
        while not bus.troubles["bus"].text.endswith("open again"):
            assert clock.monotonic_ns() < deadline_ns
            bus.serve()
        assert "its socket was removed" in bus.troubles["bus"].text
        bus.publish(counts_message(2))
        assert "its socket was removed" in bus.troubles["bus"].text
        assert [each.degrades for each in bus.troubles.values()] == [False]  # it is open: only worth knowing
        later_ns = clock.monotonic_ns() + round(TOLD_FOR_S * 1e9)
        monkeypatch.setattr(clock, "monotonic_ns", lambda: later_ns)
        assert bus.troubles == {}
