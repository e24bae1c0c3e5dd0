"""`edgecell watch`: what a running device publishes, as a dashboard on the terminal, as plain lines or as JSON lines."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from edgecell import clock, wire
from edgecell.client import DEFAULT_ENDPOINT, Subscriber
from edgecell.errors import PublishError
from edgecell.wire import CountsMessage, Device, Heartbeat, Message

COUNTS = "counts/1"
_FILE = click.Path(path_type=Path, dir_okay=False)
_SHUT_OUT = {
    True: " and that its log refuses no key",
    False: ", that it needs no keys (a bus with keys says nothing without --key and --server-key)",
}
"""What else silence may mean to who gave keys, and to who gave none."""
GLANCE_S = 1.0
"""Seconds between two looks at the clock while nothing comes: how old the screen may be."""


class View(Protocol):
    """Where messages are shown.

    silent: nothing came for so many seconds; it must not look like a count of zero. glance: nothing came since the last call.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def show(self, message: Message, bus: Subscriber) -> None: ...

    def silent(self, seconds: float, bus: Subscriber) -> None: ...

    def glance(self, bus: Subscriber) -> None: ...


@click.command()
@click.argument("endpoint", default=DEFAULT_ENDPOINT)
@click.option("--json", "as_json", is_flag=True, help="Print every message as one JSON line; schemas: edgecell schemas.")
@click.option("--plain", is_flag=True, help="Lines of text on a terminal too, for a screen reader or a log.")
@click.option("--once", is_flag=True, help="Stop after the first counts; exit 7 if none come within the time-out.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 86400),
    default=5.0,
    show_default=True,
    help="Seconds of silence to report.",
)
@click.option("--key", type=_FILE, help="Own private key, NAME.bus.key, for an encrypted bus.")
@click.option("--server-key", type=_FILE, help="The device's public key, DEVICE.bus.pub; goes with --key.")
@click.option(
    "--replay", default="", metavar="ENDPOINT", help="Where to ask for missed messages, if not where the device says."
)
def command(
    endpoint: str,
    as_json: bool,
    plain: bool,
    once: bool,
    timeout_s: float,
    key: Path | None,
    server_key: Path | None,
    replay: str,
) -> None:
    """Show what a device publishes on ENDPOINT (default: tcp://127.0.0.1:5556) until Ctrl-C.

    It shows frames by fate, cells by class, the differential with its intervals, what was unsure or left out, focus and
    exposure, how the device is, and what is wrong, in words. A terminal is filled with it; a pipe gets a line for each message.
    What was missed is fetched where the device keeps a journal. Silence is reported as silence, never as zero cells. The device
    may be started later.

    \b
    Examples:
      edgecell watch
      edgecell watch ipc:///tmp/edgecell.sock
      edgecell watch --plain
      edgecell watch --once --json | python -m json.tool
      edgecell watch tcp://bench-3:5556 --key keys/reader.bus.key --server-key keys/bench-3.bus.pub
      ssh -L 5556:127.0.0.1:5556 -L 5557:127.0.0.1:5557 bench-3     (then, here: edgecell watch)
    """
    try:
        listener = Subscriber(endpoint, [COUNTS] if once else tuple(wire.TYPES), key=key, server_key=server_key, replay=replay)
        with listener as bus, _view(as_json=as_json, plain=plain) as view:
            _follow(bus, view, once, timeout_s, keys=key is not None)
    except KeyboardInterrupt:
        return


def _view(*, as_json: bool, plain: bool) -> View:
    """The dashboard only where it can be drawn: on a terminal that can move its cursor."""
    if as_json:
        return JsonLines()
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return PlainLines()
    from edgecell.cli.dashboard import Screen  # shows messages with what stands here

    return Screen()


def _follow(bus: Subscriber, view: View, once: bool, timeout_s: float, *, keys: bool) -> None:
    heard_ns = told_ns = clock.monotonic_ns()
    while True:
        message = bus.receive(min(timeout_s, GLANCE_S))
        now_ns = clock.monotonic_ns()
        if message is not None:
            heard_ns = told_ns = now_ns
            view.show(message, bus)
            if once:
                return
        elif now_ns - told_ns >= timeout_s * 1e9:
            if once:
                raise PublishError(
                    f"no counts from {bus.endpoint} within {timeout_s:g} s",
                    fix=f"check that edgecell run is publishing there{_SHUT_OUT[keys]}, or wait longer: --timeout",
                )
            told_ns = now_ns
            view.silent((now_ns - heard_ns) / 1e9, bus)
        else:
            view.glance(bus)


class JsonLines:
    """Messages as they are on the wire, one a line, on stdout; the rest on stderr."""

    def __init__(self) -> None:
        self._told = (0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def show(self, message: Message, bus: Subscriber) -> None:
        click.echo(wire.to_wire(message)[1].decode())
        self._trouble(bus)

    def silent(self, seconds: float, bus: Subscriber) -> None:
        click.echo(f"nothing received for {seconds:.1f} s from {bus.endpoint}", err=True)
        self._trouble(bus)

    def glance(self, bus: Subscriber) -> None:
        pass

    def _trouble(self, bus: Subscriber) -> None:
        """Say once what was lost or could not be read."""
        if self._told != (bus.gaps, bus.unreadable):
            self._told = bus.gaps, bus.unreadable
            problem = f" ({printable(bus.last_problem)})" if bus.unreadable else ""
            click.echo(f"messages lost: {bus.gaps}, unreadable: {bus.unreadable}{problem}", err=True)


class PlainLines(JsonLines):
    """One line for each counts message and for each change of state."""

    def __init__(self) -> None:
        super().__init__()
        self._state = self._notice = self._slowed = ""

    def show(self, message: Message, bus: Subscriber) -> None:
        if message.notice != self._notice:
            self._notice = message.notice
            click.echo(printable(message.notice))
        if isinstance(message, CountsMessage):
            click.echo(line(message))
        else:
            self._beat(message)
        self._trouble(bus)

    def _beat(self, message: Heartbeat) -> None:
        name, slowed = printable(message.device_id), _slowed(message.device)
        if message.state != self._state:
            self._state = message.state
            click.echo(f"{name} is {message.state}. {printable(message.reason)}".rstrip())
        if slowed != self._slowed:
            self._slowed = slowed
            click.echo(f"{name} is {slowed or 'slowed down no more'}")


def picture(message: CountsMessage) -> Group:
    """A counts message for a terminal: who, frames by fate, cells by label with the differential, what was left out, notice."""
    sample = f"  sample {message.sample_id}" if message.sample_id else ""
    head = f"{message.device_id}{sample}  run {message.run_id}  message {message.sequence}"
    return Group(
        Text(printable(head), style="bold"),
        Text("" if message.valid else f"NOT VALID: {printable(message.invalid_reason)}", style="bold red"),
        Text(foreign(message), style="bold red"),
        Text(printable("; ".join(message.remarks)), style="yellow"),
        Text(printable(fates(message))),
        _cells(message),
        *([Text(printable(str(message.stop)))] if message.stop else []),
        Text(printable(left_out(message))),
        Text(printable(message.notice), style="italic"),
    )


def line(message: CountsMessage) -> str:
    """A counts message in one line."""
    rows = {row.label: row for row in message.differential.rows}
    cells = [
        f"{label} {count}" + (f" ({row.percent:.1f} %, {row.low:.1f}-{row.high:.1f})" if (row := rows.get(label)) else "")
        for label, count in sorted(message.cumulative.items())
    ]
    validity = "" if message.valid else f" | NOT VALID: {message.invalid_reason}"
    held_back = f" | {foreign(message)}" if message.domain == "foreign" else ""
    remarks = f" | {'; '.join(message.remarks)}" if message.remarks else ""
    stop = [str(message.stop)] if message.stop else []
    parts = [
        f"#{message.sequence} {message.device_id} {message.sample_id or message.run_id}{validity}{held_back}{remarks}",
        fates(message),
        ", ".join(cells) or "no cell yet",
    ]
    return printable(" | ".join([*parts, *stop, left_out(message)]))


def vitals(device: Device) -> str:
    """How the device is, in one line: its hottest sensor, what slows it down, its power mode, its disk."""
    hottest = max(device.temperatures_c.items(), key=lambda each: each[1], default=None)
    earlier = ", ".join(device.throttled_earlier)
    parts = [
        f"{hottest[0]} {hottest[1]:.0f} °C" if hottest else "",
        _slowed(device),
        f"slowed down earlier: {earlier}" if earlier else "",
        device.power_mode,
        "" if device.disk_free_mib is None else f"{device.disk_free_mib / 1024:.1f} GiB free on its disk",
    ]
    return printable(" | ".join(filter(None, parts)))


def _slowed(device: Device | None) -> str:
    """What slows the device down now, "" if nothing is known to."""
    return printable(f"slowed down: {', '.join(device.throttled)}") if device and device.throttled else ""


def printable(text: str) -> str:
    """Text from the bus without what could steer a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def foreign(message: CountsMessage) -> str:
    """That labels are held back, "" if they are not."""
    if message.domain == "known":
        return ""
    return f"FOREIGN SLIDE: labels held back (mean confidence {message.domain_confidence or 0:.3f})"


def fates(message: CountsMessage) -> str:
    """Frames by fate, in one line."""
    frames = message.frames
    latency = f", latency {message.latency_ms.p50:.0f} ms" if message.latency_ms else ""
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(message.dropped_reasons.items()))
    return (
        f"{frames.captured} frames: {frames.processed} processed, "
        f"{frames.dropped} dropped{f' ({why})' if why else ''}, {frames.gated} gated, "
        f"{frames.failed} failed, {frames.in_flight} in flight{latency}"
    )


def _cells(message: CountsMessage) -> Table:
    share = message.differential
    table = Table("label", title=f"{message.cells_total} cells, differential of {share.n}", title_justify="left")
    for name in ("cells", "window", "%", f"{100 * share.confidence:.0f} % interval"):
        table.add_column(name, justify="right")
    rows = {row.label: row for row in share.rows}
    for label in [*rows, *sorted(message.cumulative.keys() - rows)]:
        row = rows.get(label)
        percent = (f"{row.percent:.1f}", f"{row.low:.1f} - {row.high:.1f}") if row else ("", "")
        count, window = message.cumulative.get(label, 0), message.counts.get(label, 0)
        table.add_row(Text(printable(label)), str(count), f"{window:+d}" if window else "", *percent)
    return table


def left_out(message: CountsMessage) -> str:
    """How cells are counted, and which of them no class got."""
    excluded = ", ".join(f"{count} {reason}" for reason, count in sorted(message.excluded.items()))
    ratio = message.differential.erythroblasts_per_100
    nucleated = f" | erythroblasts per 100: {ratio:.1f}" if ratio is not None else ""
    return f"counting {message.counting} | unsure {message.unsure} | excluded {excluded or 0}{nucleated}"
