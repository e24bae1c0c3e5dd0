"""The classify thread: cells of one or several frames in one batch."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from edgecell import clock, pipeline
from edgecell.condition import Troubles
from edgecell.errors import InferenceError
from edgecell.messages import FrameReport
from edgecell.pipeline import SlideState
from edgecell.runtime.capture import GLANCE_S
from edgecell.runtime.look import Look, words
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.mending import Mending
from edgecell.runtime.stage import Classifying
from edgecell.runtime.watchdog import Pulse

LOG = logging.getLogger(__name__)
MOST_FRAMES = 8
"""Frames that share a batch: each is an image that is held until the batch is through."""


class Label:
    """Takes looks out of `found` and puts them into `named`, in order. wait_s: longest that a frame waits for company.

    What its cells are called does not depend on the company.
    """

    def __init__(self, found: Mailbox[Look], named: Mailbox[Look], wait_s: float, slide: SlideState) -> None:
        self._found, self._named, self._wait_s, self._slide = found, named, wait_s, slide
        self._mending: Mending | None = None

    @property
    def troubles(self) -> Troubles:
        return self._mending.troubles if self._mending else {}

    def work(self, tools: Classifying, pulse: Pulse) -> None:
        self._mending = mending = Mending("classify", tools.reopen)
        while not self._found.over:
            batch = self._batch(tools)
            if not batch:
                continue
            done: list[Look] = []
            try:
                with pulse.at(f"frame {batch[0].index}"):
                    self._through(batch, tools, mending, done)
            finally:  # those before the one that ends the run are counted
                taken = [self._named.put(look) for look in done]
            if not all(taken):
                return

    def _batch(self, tools: Classifying) -> list[Look]:
        """The next look, and those that come within wait_s while there is room in the engines' batches."""
        first = self._found.get(GLANCE_S)
        if first is None:
            return []
        batch, room = [first], min((each.manifest.input.batch.max for each in tools.classifiers.values()), default=0)
        due_ns = clock.monotonic_ns() + round(self._wait_s * 1e9)
        while len(batch) < MOST_FRAMES and sum(_cells(look, tools) for look in batch) < room:
            more = self._found.get(max(0.0, (due_ns - clock.monotonic_ns()) / 1e9))
            if more is None:
                break
            batch.append(more)
        return batch

    def _through(self, batch: Sequence[Look], tools: Classifying, mending: Mending, done: list[Look]) -> None:
        """Classify, and add to `done` in order. Where several fail together each is tried alone, so that only those that fail
        alone have failed. Raises what ends the run, its frame being in `done`."""
        try:
            looks, reports = self._classified(batch, tools)
        except InferenceError as error:
            if len(batch) > 1:
                LOG.warning("classify: %d frames failed together, each is tried alone: %s", len(batch), error)
                for look in batch:
                    self._through([look], tools, mending, done)
                return
            done.append(replace(batch[0], failed=f"classify: {words(error)}"))
            mending.failed(error)
            return
        except BaseException as error:
            done += [replace(look, failed=f"classify: {words(error)}") for look in batch]
            raise
        done += looks
        if any(answer.probabilities is not None for report in reports for answer in report.classifications):
            mending.worked()

    def _classified(self, batch: Sequence[Look], tools: Classifying) -> tuple[list[Look], list[FrameReport]]:
        detected = [look.detected for look in batch if look.detected is not None]
        reports, slides = list[FrameReport](), self._slide
        if detected:
            reports, slides = pipeline.classify(detected, tools.classifiers, self._slide, clock.monotonic_ns)
        self._slide = slides
        rest, behind = iter(reports), range(len(batch) - 1, -1, -1)
        looks = [
            replace(look, more=more) if look.detected is None else replace(look, report=next(rest), slide=slides, more=more)
            for look, more in zip(batch, behind, strict=True)
        ]
        return looks, reports


def _cells(look: Look, tools: Classifying) -> int:
    """Cells of a frame that an engine will see."""
    found = look.detected.segmentation if look.detected else None
    return sum(cell.excluded is None and cell.kind in tools.classifiers for cell in found.cells) if found else 0
