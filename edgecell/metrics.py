"""What the bus tells, as Prometheus reads it. A listener like any other: it can neither slow nor stop the run.

Silence is not zero: from a device that was not heard for a while only `edgecell_up 0` is told, and none of its old figures.
Cells are gauges, for a revision may take some back. The sample is not named. Series are as many as there are classes, reasons
and sensors.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, get_args

from edgecell import clock
from edgecell.errors import MissingDependency
from edgecell.wire import CountsMessage, Device, Heartbeat, Message, State

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

MIB = 1 << 20
STATES: tuple[str, ...] = get_args(State)
QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))


class Figures:
    """The latest messages of one device, read by whoever scrapes, on another thread: each is replaced as a whole.

    silence_s: how long a device may be silent before its figures are told no more. lost, unreadable: of the listener.
    """

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._heard: tuple[CountsMessage | None, Heartbeat | None, int] = (None, None, 0)
        self.lost = self.unreadable = 0

    def hear(self, message: Message) -> None:
        counts, beat, _ = self._heard
        if isinstance(message, CountsMessage):
            counts = message
        else:
            beat = message
        run_ids = {each.run_id for each in (counts, beat) if each}
        if len(run_ids) > 1:  # a new run: nothing of the old one is told with it
            counts, beat = (message, None) if isinstance(message, CountsMessage) else (None, message)
        self._heard = counts, beat, clock.monotonic_ns()

    @property
    def whole(self) -> bool:
        """Whether both counts and a heartbeat of a run were heard."""
        return None not in self._heard[:2]

    def collect(self) -> "Iterator[Metric]":
        """For prometheus_client, whose collectors have this method."""
        counts, beat, heard_ns = self._heard
        up = bool(heard_ns) and clock.monotonic_ns() - heard_ns <= self._silence_s * 1e9
        yield _gauge("edgecell_up", "Whether the device was heard lately.", up)
        yield _counter("edgecell_messages_lost", "Counts messages that this listener lost for good.", self.lost)
        yield _counter("edgecell_messages_unreadable", "Messages that this listener could not read.", self.unreadable)
        if up and beat is not None:
            yield from _of_heartbeat(beat)
        if up and counts is not None:
            yield from _of_counts(counts)


def registry(figures: Figures) -> "CollectorRegistry":
    """What a scrape reads. Raises MissingDependency."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        what = f"prometheus_client cannot be imported ({error})"
        raise MissingDependency(what, fix="pip install 'edgecell[metrics]'") from None
    made = CollectorRegistry()
    made.register(figures)
    return made


def _of_heartbeat(beat: Heartbeat) -> "Iterator[Metric]":
    from prometheus_client.core import InfoMetricFamily

    names = {"device_id": beat.device_id, "run_id": beat.run_id}
    yield InfoMetricFamily("edgecell", "The device and its run; always 1.", value=names)
    states = {state: float(state == beat.state) for state in STATES}
    yield _gauges("edgecell_state", "1 for the state of the run.", "state", states)
    yield _gauge("edgecell_uptime_seconds", "Since the run started.", beat.uptime_s)
    yield _gauge("edgecell_clock_synced", "Whether the device knows its clock to be set.", beat.clock_synced)
    yield _counter("edgecell_messages_unsent", "Messages that the device could not send.", beat.unsent)
    if beat.device is not None:
        yield from _of_device(beat.device)


def _of_device(device: Device) -> "Iterator[Metric]":
    yield _gauges("edgecell_temperature_celsius", "By sensor of the device.", "sensor", device.temperatures_c)
    if device.throttled is not None:
        yield _gauge("edgecell_throttled", "Whether something slows the device down now.", bool(device.throttled))
        reasons = dict.fromkeys(device.throttled, 1.0)
        yield _gauges("edgecell_throttled_reason", "What slows it down now; always 1.", "reason", reasons)
    if device.power_mode:
        yield _gauges("edgecell_power_mode_info", "Its power mode; always 1.", "mode", {device.power_mode: 1.0})
    for name, text, mib in (
        ("edgecell_disk_free_bytes", "On the disk of the journal.", device.disk_free_mib),
        ("edgecell_disk_bytes", "Of that disk in all.", device.disk_mib),
        ("edgecell_memory_free_bytes", "Memory that programs can still have.", device.memory_free_mib),
    ):
        if mib is not None:
            yield _gauge(name, text, mib * MIB)


def _of_counts(counts: CountsMessage) -> "Iterator[Metric]":
    frames = counts.frames
    fates = {name: getattr(frames, name) for name in ("processed", "dropped", "gated", "failed")}
    yield _counters("edgecell_frames", "Frames of the run by fate.", "fate", fates)
    yield _gauge("edgecell_frames_in_flight", "Frames on their way.", frames.in_flight)
    yield _counters("edgecell_frames_gated", "Gated frames by reason.", "reason", counts.gated_reasons)
    yield _counters("edgecell_frames_dropped", "Dropped frames by reason.", "reason", counts.dropped_reasons)
    yield _gauges("edgecell_cells", "Cells of the run by label.", "label", counts.cumulative)
    yield _gauge("edgecell_cells_unsure", "Cells of the run that no class was decided for.", counts.unsure)
    yield _gauges("edgecell_cells_excluded", "Cells not counted, by reason.", "reason", counts.excluded)
    yield _gauge("edgecell_counts_valid", "0: something is wrong, do not rely on the latest window.", counts.valid)
    yield _gauge("edgecell_slide_foreign", "1: the slide looks unlike those that the models know.", counts.domain == "foreign")
    latency = counts.latency_ms
    if latency is not None:
        seconds = {quantile: getattr(latency, name) / 1e3 for quantile, name in QUANTILES}
        yield _gauges("edgecell_latency_seconds", "Capture to counts, over the window.", "quantile", seconds)


def _gauge(name: str, text: str, value: float) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> "Metric":
    """Prometheus calls it `name` and `_total`."""
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    made = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        made.add_metric((key,), float(value))
    return made


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    made = CounterMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        made.add_metric((key,), float(value))
    return made
