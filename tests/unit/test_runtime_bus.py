"""What a lost bus has to say, once there is somebody to say it to."""

from pathlib import Path

from bus_messages import counts_message

from edgecell import clock
from edgecell.publishers.zmq import ZmqOptions, ZmqPublisher
from edgecell.runtime.bus import Bus


def test_the_first_message_after_a_loss_still_tells_of_it(tmp_path: Path) -> None:
    """The ones before it were heard by nobody."""
    with ZmqPublisher(ZmqOptions(endpoint=f"ipc://{tmp_path}/bus", linger_ms=0)) as publisher:
        bus = Bus(publisher, "slide-17")
        bus.publish(counts_message(0))
        assert bus.troubles == {}
        (tmp_path / "bus").unlink()
        bus.serve()
        lost = bus.troubles["bus"].text
        assert "its socket was removed" in lost
        bus.publish(counts_message(1))
        assert bus.unsent == 1
        deadline_ns = clock.monotonic_ns() + 10_000_000_000
        while not bus.troubles["bus"].text.endswith("open again"):
            assert clock.monotonic_ns() < deadline_ns
            bus.serve()
        assert "its socket was removed" in bus.troubles["bus"].text
        bus.publish(counts_message(2))
        assert bus.troubles == {}
