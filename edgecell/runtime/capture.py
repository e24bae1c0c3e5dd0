"""The capture thread: reads the source, tells what is fresh, and hands it on."""

from dataclasses import replace

from edgecell import clock
from edgecell.condition import Trouble, Troubles
from edgecell.errors import FrameCorrupt, FrameTimeout
from edgecell.messages import Frame
from edgecell.protocols import FrameSource
from edgecell.runtime.camera import Camera
from edgecell.runtime.look import Look
from edgecell.runtime.mailbox import Mailbox
from edgecell.runtime.memory import Memory
from edgecell.runtime.still import Still
from edgecell.runtime.watchdog import Pulse
from edgecell.settings import RunSettings

GLANCE_S = 0.25
"""Longest wait inside the source and at a mailbox, so that a signal is answered and the heartbeat keeps its pace while no
frame comes."""
REPEATED, SHORT = "capture: the same picture again", "capture: memory is short"


class Capture:
    """stop: set by others to end the reading. captured: frames numbered so far. ended: the source came to its end.

    seen: where frames go. news: what needs no further work: looks in vain, and frames that are dropped here.
    """

    def __init__(
        self,
        source: FrameSource,
        settings: RunSettings,
        memory: Memory,
        seen: Mailbox[Look],
        news: Mailbox[Look],
        captured: int = 0,
    ) -> None:
        self._source, self._settings, self._memory, self._seen, self._news = source, settings, memory, seen, news
        self._still = Still(source.source_id)
        self._silent_s = 0.0
        self._camera = Camera(source, captured)
        self.captured = captured
        self.stop = self.ended = False

    def opened(self) -> Camera:
        return self._camera

    @property
    def troubles(self) -> Troubles:
        """What keeps frames from coming. Read by another thread."""
        return {**self._camera.troubles, **self._still.troubles, **self._memory.troubles, **self._silence()}

    def work(self, camera: Camera, pulse: Pulse) -> None:
        most = self._settings.max_frames or float("inf")
        while not self.stop and self.captured < most:
            if self._memory.short and not self._source.live:
                self._rest()
                continue
            with pulse.at(f"reading {self._source.source_id}"):
                look = self._look(camera)
            if look is None:
                self.ended = True
                return
            if not self._hand_on(look):
                return

    def _look(self, camera: Camera) -> Look | None:
        """One look; None at the end of the stream. A frame that cannot be used does not end a silence."""
        start_ns = clock.monotonic_ns()
        frame: Frame | None = None
        corrupt: FrameCorrupt | None = None
        try:
            frame = camera.read(min(GLANCE_S, self._settings.read_timeout_s))
            if frame is None:
                return None
        except FrameTimeout:
            pass
        except FrameCorrupt as error:
            corrupt = error
        now, given = clock.monotonic_ns(), frame or corrupt
        look = Look(read_ns=now, frame=frame, corrupt=corrupt)
        if given is not None:
            look = replace(look, index=given.index, lost=given.index - self.captured)
            self.captured = given.index + 1
        if frame is not None and self._source.live and self._still.repeats(frame):
            look = look.without(REPEATED)
        fresh = frame is not None and not look.dropped
        self._silent_s = 0.0 if fresh else self._silent_s + (now - start_ns) / 1e9
        return look

    def _hand_on(self, look: Look) -> bool:
        """False: the run is over, and nobody takes it."""
        if look.index is None or look.dropped:
            return self._news.push(look)
        if self._memory.short and self._source.live:
            return self._news.push(look.without(SHORT))
        return self._seen.put(look)

    def _rest(self) -> None:
        """Files wait until there is memory: they are not going anywhere."""
        clock.sleep(GLANCE_S)
        self._news.push(Look(read_ns=clock.monotonic_ns()))

    def _silence(self) -> Troubles:
        """After read_timeout_s without a frame that can be used: that is no frame, not a frame without cells."""
        silent_s = self._silent_s
        if silent_s < self._settings.read_timeout_s:
            return {}
        return {"silence": Trouble(f"no usable frame from {self._source.source_id} for {silent_s:.1f} s")}
