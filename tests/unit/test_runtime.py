"""The live loop with stand-ins for camera, segmenter and bus: what it counts, what it says, and when.

Time stands still here but for the stand-ins. What the threads do at the same time is in test_overlap.py.
"""

import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from still_run import (
    PICTURE,
    Acting,
    Bench,
    Bus,
    Camera,
    Clock,
    Event,
    Onlooker,
    Part,
    balanced,
    corrupt,
    frame,
    frames,
    standing,
)
from tiny_bundle import CLASSES, tiny_manifest

from edgecell.bundle import Bundle
from edgecell.classify import Classifier
from edgecell.errors import EdgecellError, InferenceError, SourceUnavailable
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.runtime.capture import GLANCE_S
from edgecell.runtime.mending import MOST
from edgecell.wire import CountsMessage, Heartbeat, Message


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return standing(monkeypatch)


class Broken(Part):
    """A stand-in engine that fails."""

    description = "broken engine"

    def infer(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        raise InferenceError("the engine is gone", fix="restart it")


# Counting


def test_every_frame_is_counted_once_and_the_end_is_published(time: Clock) -> None:
    bench = Bench(time, frames(0, 1, 2))
    last = bench.run()
    assert last.state == "stopped"
    assert last.counts == bench.counts[-1]
    assert last.counts.cumulative == {"red_blood_cell": 3, "nucleated": 3}
    assert (last.counts.excluded, last.counts.cells_total) == ({"edge": 3}, 9)
    assert (last.counts.pixel_um, last.counts.pixel_um_source) == (0.1, "settings")
    assert (last.counts.frames.captured, last.counts.frames.processed) == (3, 3)
    assert (bench.heartbeats[-1].state, bench.heartbeats[-1].frames) == ("stopped", last.counts.frames)
    assert bench.onlooker.sent_messages == [message for _, message in bench.bus.messages]
    assert [report.frame_index for report in bench.onlooker.reports if report] == [0, 1, 2]


def test_a_gated_frame_is_told_with_its_reason_and_has_no_cells(time: Clock) -> None:
    bench = Bench(time, [frame(0), frame(1, np.zeros_like(PICTURE)), frame(2, np.full_like(PICTURE, 220))])
    last = bench.run().counts
    assert (last.frames.processed, last.frames.gated) == (1, 2)
    assert last.gated_reasons == {"dark": 1, "empty": 1}
    assert last.cells_total == 3
    assert last.valid


def test_a_jump_of_the_index_is_frames_dropped(time: Clock, caplog: pytest.LogCaptureFixture) -> None:
    last = Bench(time, frames(0, 1, 5)).run().counts
    assert (last.frames.captured, last.frames.processed, last.frames.dropped) == (6, 3, 3)
    assert "3 frames lost before frame 5" in caplog.text


def test_a_corrupt_frame_is_failed_with_its_name_in_the_log(time: Clock, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(time, [frame(0), corrupt(1), frame(2)])
    last = bench.run().counts
    assert (last.frames.captured, last.frames.processed, last.frames.failed) == (3, 2, 1)
    assert last.valid
    assert "frame 1 failed: file1.jpg: is damaged. Fix: copy it again" in caplog.text
    assert bench.onlooker.reports[1] is None


def test_frames_always_balance(time: Clock) -> None:
    """In every message and in every look of a display, whatever happens on the way."""
    dark = np.zeros_like(PICTURE)
    events: list[Event] = [frame(0), corrupt(1), 0.7, frame(4), 3.0, corrupt(6), frame(7, dark), 1.2, frame(8)]
    bench = Bench(time, events, takes_s=0.3, window_s=0.5)
    last = bench.run().counts
    assert (last.frames.captured, last.frames.processed) == (9, 3)
    assert (last.frames.dropped, last.frames.failed, last.frames.gated) == (3, 2, 1)
    assert all(balanced(message) for _, message in bench.bus.messages)
    assert all(balanced(look.counts) for look in bench.onlooker.progress)
    assert sum(message.counts.get("nucleated", 0) for message in bench.counts) == last.cumulative["nucleated"] == 3


def test_it_stops_after_as_many_frames_as_asked_for(time: Clock) -> None:
    bench = Bench(time, frames(*range(9)), max_frames=4)
    assert bench.run().counts.frames.captured == 4
    assert len(bench.onlooker.reports) == 4


# Silence


def test_silence_is_degraded_and_not_valid_but_no_count(time: Clock, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(time, [frame(0), 5.0])
    before = bench.run().counts
    assert before.frames.captured == 1
    silent = [(at, each) for at, each in bench.bus.messages if isinstance(each, CountsMessage) and at > 2.5e9]
    assert len(silent) >= 2
    for _, message in silent:
        assert not message.valid
        assert "no usable frame from camera for" in message.invalid_reason
        assert message.counts == {}
        assert message.cells_total == 3
        assert message.frames.captured == 1
    assert caplog.text.count("no usable frame") == 1


def test_a_silence_shorter_than_the_time_out_changes_nothing(time: Clock) -> None:
    bench = Bench(time, [frame(0), 1.9, frame(1), 1.9, frame(2)])
    bench.run()
    assert {message.state for message in bench.heartbeats} == {"running", "stopped"}
    assert all(message.valid for message in bench.counts)


def test_it_is_degraded_within_a_glance_of_the_time_out(time: Clock) -> None:
    bench = Bench(time, [frame(0), 5.0, frame(1)], heartbeat_s=0.01)
    bench.run()
    first = next(at for at, each in bench.bus.messages if isinstance(each, Heartbeat) and each.state == "degraded")
    assert 2.0 <= first / 1e9 <= 2.0 + GLANCE_S


class Dressed(Bus):
    """A stand-in publisher that lets on the bus what the real one does."""

    def __init__(self, time: Clock) -> None:
        super().__init__(time)
        self._real = ZmqPublisher()

    def conceal(self, sample_id: str) -> None:
        self._real.conceal(sample_id)

    def outgoing(self, message: Message) -> Message:
        return self._real.outgoing(message)


def test_no_heartbeat_names_the_sample_also_before_the_first_counts(time: Clock) -> None:
    """Videos are named after the sample, and the reason of a silence names the source."""
    bench = Bench(time, [5.0, frame(0)], heartbeat_s=0.1, window_s=60)
    bench.bus = Dressed(time)
    bench.source.source_id = "/videos/s.avi"
    bench.run()
    first = next(at for at, (_, each) in enumerate(bench.bus.messages) if isinstance(each, CountsMessage))
    reasons = [each.reason for _, each in bench.bus.messages[:first] if isinstance(each, Heartbeat) and each.reason]
    assert reasons
    assert all("no usable frame from /videos/(sample).avi for " in reason for reason in reasons)


def test_a_time_out_shorter_than_a_glance_is_kept(time: Clock) -> None:
    bench = Bench(time, [frame(0), 0.2, frame(1)], heartbeat_s=0.01, read_timeout_s=0.1)
    bench.run()
    assert "degraded" in {message.state for message in bench.heartbeats}


def test_the_next_frame_ends_a_silence(time: Clock) -> None:
    bench = Bench(time, [frame(0), 3.0, frame(1), 1.1, frame(2)], takes_s=0.1)
    last = bench.run().counts
    states = [message.state for message in bench.heartbeats]
    assert states.index("degraded") < len(states) - 1 - states[::-1].index("running")
    assert (last.valid, last.invalid_reason, last.frames.processed) == (True, "", 3)
    assert [message.reason for message in bench.heartbeats if message.state == "running"] == [""] * states.count("running")


def test_slow_work_on_a_frame_is_no_silence(time: Clock) -> None:
    bench = Bench(time, frames(0, 1, 2), takes_s=5.0)
    bench.run()
    assert all(message.valid for message in bench.counts)


def test_frames_that_cannot_be_used_are_a_silence_too(time: Clock) -> None:
    events = [frame(0), *(event for index in range(1, 13) for event in (0.2, corrupt(index))), frame(13), 1.1, frame(14)]
    bench = Bench(time, events, heartbeat_s=0.1)
    last = bench.run().counts
    assert "degraded" in {message.state for message in bench.heartbeats}
    assert (last.valid, last.frames.failed) == (True, 12)  # a window without it
    assert not all(message.valid for message in bench.counts)


def test_a_run_that_is_stopped_in_silence_ends_with_counts_that_are_not_valid(time: Clock) -> None:
    """Else a camera that never worked would leave a valid count of no cells behind."""
    bench = Bench(time, [3.0, lambda: signal.raise_signal(signal.SIGTERM), 0.5])
    last = bench.run()
    assert last.state == "stopped"
    assert not last.counts.valid
    assert "no usable frame" in last.counts.invalid_reason
    assert "no usable frame" in bench.heartbeats[-1].reason


# Ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_frames_in_hand(time: Clock, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    bench = Bench(time, frames(*range(9)))
    last = bench.run(Acting(1, lambda: signal.raise_signal(number)))
    assert last.state == "stopped"
    assert last.counts.frames.captured == last.counts.frames.processed
    assert last.counts.frames.captured in (2, 3)  # the camera may have been at the next one already
    assert last.counts.valid
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_at_once(time: Clock) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    bench = Bench(time, frames(*range(9)))
    with pytest.raises(KeyboardInterrupt):
        bench.run(Acting(1, twice))
    assert (bench.counts[-1].valid, bench.heartbeats[-1].state) == (False, "failed")
    assert bench.counts[-1].frames.in_flight == 0


@pytest.mark.parametrize("error", [SourceUnavailable("cable pulled", fix="plug it in"), ValueError("a bug")])
def test_an_error_ends_the_run_with_the_counts_so_far(time: Clock, error: Exception) -> None:
    bench = Bench(time, [frame(0), error])
    with pytest.raises(type(error)):
        bench.run()
    last, end = bench.counts[-1], bench.heartbeats[-1]
    assert (last.valid, last.cumulative, end.state) == (False, {"red_blood_cell": 1, "nucleated": 1}, "failed")
    expected = "cable pulled" if isinstance(error, EdgecellError) else "unexpected error"
    assert expected in last.invalid_reason
    assert expected in end.reason


def test_an_engine_that_goes_on_failing_ends_the_run_with_its_frames_failed(time: Clock, tmp_path: Path) -> None:
    bench = Bench(time, frames(*range(9)))
    bundle = Bundle(path=tmp_path, manifest=tiny_manifest(), sha256="0" * 64)
    assert bundle.class_names == CLASSES
    bench.classifiers["nucleated"] = Classifier(Broken(), bundle)
    with pytest.raises(InferenceError):
        bench.run()
    last = bench.counts[-1]
    assert (last.frames.failed, last.frames.processed, last.frames.in_flight, last.cells_total) == (MOST + 1, 0, 0, 0)
    given_up = last.frames.captured - MOST - 1
    assert last.dropped_reasons == ({"run: failed": given_up} if given_up else {})
    assert not last.valid
    for reason in (last.invalid_reason, bench.heartbeats[-1].reason):
        assert reason.startswith("the engine is gone; classify: the engine is gone; the engine was opened again, 3 of 3 times")
    assert bench.heartbeats[-1].state == "failed"


def test_a_source_without_one_usable_frame_is_an_error(time: Clock) -> None:
    bench = Bench(time, [corrupt(0), corrupt(1)])
    with pytest.raises(SourceUnavailable, match="none of the 2 frames of camera"):
        bench.run()
    assert not bench.counts[-1].valid


def test_an_empty_stream_is_no_error(time: Clock) -> None:
    assert Bench(time, []).run().counts.frames.captured == 0


def test_a_display_that_breaks_cannot_keep_the_last_state_from_the_bus(time: Clock) -> None:
    class Deaf(Onlooker):
        def sent(self, message: Message) -> None:
            raise BrokenPipeError

    bench = Bench(time, frames(0))
    with pytest.raises(BrokenPipeError):
        bench.run(Deaf())
    assert isinstance(bench.bus.messages[-1][1], Heartbeat)
    assert bench.heartbeats[-1].state == "failed"


# Pace


def test_windows_and_heartbeats_keep_their_pace_while_frames_come(time: Clock) -> None:
    bench = Bench(time, [*(event for index in range(40) for event in (0.1, frame(index))), 0.05])
    bench.run()
    assert bench.times(CountsMessage) == pytest.approx([1.0, 2.0, 3.0, 4.0, 4.05])
    assert bench.times(Heartbeat)[:-1] == pytest.approx([0.1 + 0.5 * at for at in range(8)])
    assert [message.sequence for message in bench.counts] == [0, 1, 2, 3, 4]
    assert [message.sequence for message in bench.heartbeats] == list(range(9))
    assert [message.window_s for message in bench.counts] == pytest.approx([1.0] * 4 + [0.05])
    assert [message.counts.get("nucleated", 0) for message in bench.counts] == [10, 10, 10, 10, 0]
    assert [message.cumulative["nucleated"] for message in bench.counts] == [10, 20, 30, 40, 40]


def test_heartbeats_go_on_while_nothing_comes(time: Clock) -> None:
    bench = Bench(time, [10.0])
    bench.run()
    beats = bench.times(Heartbeat)
    assert max(later - earlier for earlier, later in pairwise(beats)) <= 0.5 + GLANCE_S
    assert bench.bus.served >= 10 / GLANCE_S - 1


def test_latency_is_from_capture_to_counts(time: Clock) -> None:
    bench = Bench(time, [lambda: time.wait(1.0)], takes_s=0.04)
    bench.source = Camera(time, [frame(0)])
    latency = bench.run().counts.latency_ms
    assert latency is not None
    assert latency.p50 == pytest.approx(40.0)


def test_a_look_takes_no_sequence_number_and_closes_no_window(time: Clock) -> None:
    bench = Bench(time, frames(*range(5)))
    bench.run()
    assert [look.counts.sequence for look in bench.onlooker.progress] == [0] * 5
    assert [look.counts.counts["nucleated"] for look in bench.onlooker.progress] == [1, 2, 3, 4, 5]
    assert bench.counts[-1].counts["nucleated"] == 5
