"""The detect thread: correction, gate and segmenter."""

from dataclasses import replace

from edgecell import clock, drift, pipeline
from edgecell.condition import Trouble, Troubles
from edgecell.errors import InferenceError, JournalError
from edgecell.gate import GateState
from edgecell.protocols import Memory, Remembering
from edgecell.runtime.capture import GLANCE_S
from edgecell.runtime.look import Look, words
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.mending import Mending
from edgecell.runtime.stage import Detecting
from edgecell.runtime.watchdog import Pulse


class Detect:
    """Takes looks out of `seen` and puts them into `found`, in order. A frame whose segmenter fails goes on as failed."""

    def __init__(self, seen: Mailbox[Look], found: Mailbox[Look], gate: GateState, memory: Memory = ()) -> None:
        """memory: the segmenter's, of an earlier process of this run."""
        self._seen, self._found, self._gate, self._memory = seen, found, gate, memory
        self._mending: Mending | None = None
        self._drifted = _drifted(gate)

    @property
    def troubles(self) -> Troubles:
        """What is wrong with the engine, and with the microscope. Read by another thread."""
        return {**(self._mending.troubles if self._mending else {}), **self._drifted}

    def work(self, tools: Detecting, pulse: Pulse) -> None:
        self._mending = mending = Mending("detect", tools.reopen)
        remembering = tools.segmenter if isinstance(tools.segmenter, Remembering) else None
        if remembering is not None:
            try:
                remembering.remember(self._memory)
            except ValueError as error:
                what = f"the run's memory of its scale cannot be read: {error}"
                raise JournalError(what, fix="begin a new run: leave out --resume") from None
        while not self._seen.over:
            look = self._seen.get(GLANCE_S)
            if look is None:
                continue
            try:
                with pulse.at(f"frame {look.index}"):
                    look = self._through(look, tools, mending)
            except BaseException as error:
                self._found.put(replace(look, failed=f"detect: {words(error)}"))
                raise
            if remembering is not None:
                look = replace(look, memory=remembering.memory)
            if not self._found.put(look):
                return

    def _through(self, look: Look, tools: Detecting, mending: Mending) -> Look:
        """Raises what ends the run."""
        if look.frame is None:
            return look
        try:
            detected, self._gate = pipeline.detect(
                look.frame, tools.segmenter, tools.limits, self._gate, clock.monotonic_ns, tools.correct
            )
        except InferenceError as error:
            mending.failed(error)
            return replace(look, failed=f"detect: {words(error)}")
        self._drifted = _drifted(self._gate)
        if detected.segmentation is not None:
            mending.worked()
        return replace(look, frame=detected.frame, detected=detected, gate=self._gate)


def _drifted(gate: GateState) -> Troubles:
    """What is no longer as the microscope was set up. It spoils counts where they are doubtful; nothing is retried."""
    found = () if gate.drift is None else drift.findings(gate.drift)
    return {each.topic: Trouble(each.text, spoils=each.doubtful, degrades=each.doubtful) for each in found}
