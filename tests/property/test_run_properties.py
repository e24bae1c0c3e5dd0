"""Whatever a camera lives through, every frame is in one place and every cell is counted once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from still_run import Bench, Camera, Event, Finder, balanced, corrupt, fresh, standing

from edgecell.errors import EdgecellError, InferenceError, SourceUnavailable
from edgecell.messages import Frame, Segmentation
from edgecell.wire import CountsMessage

STEPS = st.lists(
    st.sampled_from(["frame", "frame", "frame", "same", "corrupt", "gap", "pause", "silence", "unplugged", "engine"]),
    max_size=25,
)


class Failing(Finder):
    """A stand-in segmenter that fails on some frames."""

    failing: frozenset[int] = frozenset()

    def segment(self, frame: Frame) -> Segmentation:
        if frame.index in self.failing:
            raise InferenceError("the device was lost")
        return super().segment(frame)


def events(steps: list[str]) -> tuple[list[Event], set[int]]:
    """What the camera gives, numbered as one that never restarts its numbers; and the frames that an engine fails on."""
    out: list[Event] = []
    failing: set[int] = set()
    index = picture = 0
    for step in steps:
        if step in ("pause", "silence"):
            out.append(0.3 if step == "pause" else 3.0)
            continue
        if step == "unplugged":
            out.append(SourceUnavailable("gone"))
            continue
        index += 3 if step == "gap" else 0
        picture += step != "same"
        if step == "corrupt":
            out.append(corrupt(index))
        else:
            (made,) = fresh(picture % 250)
            assert isinstance(made, Frame)
            out.append(renumbered(made, index))
            if step == "engine":
                failing.add(index)
        index += 1
    return out, failing


def renumbered(frame: Frame, index: int) -> Frame:
    return Frame(source_id=frame.source_id, index=index, captured_ns=frame.captured_ns, image=frame.image)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans(), st.sampled_from([0.1, 0.5, 5.0]))
def test_the_books_of_a_run_reconcile(steps: list[str], live: bool, window_s: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        time = standing(patch)
        given_events, failing = events(steps)
        bench = Bench(time, [], window_s=window_s, heartbeat_s=0.2)
        bench.source, finder = Camera(time, given_events, live=live), Failing(time, 0.05)
        finder.failing = frozenset(failing)
        bench.segmenter = finder
        try:
            bench.run()
        except EdgecellError as error:
            ended: str = error.what
        else:
            ended = ""
    counts = [message for message in bench.onlooker.sent_messages if isinstance(message, CountsMessage)]
    last = counts[-1]
    assert all(balanced(message) for message in bench.onlooker.sent_messages)
    assert last.frames.in_flight == 0
    assert last.frames.dropped == sum(last.dropped_reasons.values())
    assert last.cells_total == 3 * last.frames.processed
    assert sum(message.counts.get("nucleated", 0) for message in counts) == last.frames.processed
    assert (ended in last.invalid_reason) or not ended
    assert (ended == "gone") <= (not live)
    indices = [report.frame_index for report in bench.onlooker.reports if report]
    assert indices == sorted(set(indices))
