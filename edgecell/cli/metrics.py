"""`edgecell metrics`: what a device tells on the bus, for Prometheus."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edgecell import clock, metrics
from edgecell.client import DEFAULT_ENDPOINT, Subscriber
from edgecell.errors import PublishError, SettingsError
from edgecell.messages import NOTICE
from edgecell.metrics import Figures

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LISTEN = "127.0.0.1:9556"
GLANCE_S = 1.0
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("endpoint", default=DEFAULT_ENDPOINT)
@click.option(
    "--listen", default=LISTEN, show_default=True, metavar="HOST:PORT", help="Where Prometheus asks: on this machine."
)
@click.option("--once", is_flag=True, help="Print the figures once, for a file that node_exporter reads; exit 7 without any.")
@click.option(
    "--silence",
    "silence_s",
    type=click.FloatRange(0.1, 86400),
    default=15.0,
    show_default=True,
    help="Seconds without a message after which the device is down.",
)
@click.option("--key", type=_FILE, help="Own private key, NAME.bus.key, for an encrypted bus.")
@click.option("--server-key", type=_FILE, help="The device's public key, DEVICE.bus.pub; goes with --key.")
@click.option("--json", "as_json", is_flag=True, help="With --once one JSON object; else where it listens, as one.")
def command(
    endpoint: str, listen: str, once: bool, silence_s: float, key: Path | None, server_key: Path | None, as_json: bool
) -> None:
    """Serve what a device publishes on ENDPOINT (default: tcp://127.0.0.1:5556) to Prometheus, until Ctrl-C.

    A process of its own, which listens to the bus like any other: whatever becomes of it, the run goes on. It serves this
    machine only; for another one, let that machine's Prometheus come through a tunnel or a proxy that asks who it is.

    Needs prometheus_client: pip install 'edgecell[metrics]'.

    \b
    Examples:
      edgecell metrics
      edgecell metrics tcp://127.0.0.1:5556 --listen 127.0.0.1:9600
      edgecell metrics --once > /var/lib/node_exporter/edgecell.prom
      edgecell metrics --once --json
      curl http://127.0.0.1:9556/metrics     (while it runs)
    """
    figures = Figures(silence_s)
    registry = metrics.registry(figures)
    with Subscriber(endpoint, key=key, server_key=server_key) as bus:
        if once:
            _print_once(bus, figures, registry, silence_s, as_json=as_json)
            return
        _serve(bus, figures, registry, _address(listen), as_json=as_json)


def _print_once(bus: Subscriber, figures: Figures, registry: "CollectorRegistry", patience_s: float, *, as_json: bool) -> None:
    """Raises PublishError where no counts and heartbeat of one run came."""
    from prometheus_client import generate_latest

    deadline_ns = clock.monotonic_ns() + round(patience_s * 1e9)
    while not figures.whole:
        left_s = (deadline_ns - clock.monotonic_ns()) / 1e9
        if left_s <= 0:
            fix = "check that edgecell run is publishing there, or wait longer: --silence"
            raise PublishError(f"no counts and heartbeat from {bus.endpoint} within {patience_s:g} s", fix=fix)
        _hear(bus, figures, left_s)
    if as_json:
        samples = [sample for metric in registry.collect() for sample in metric.samples]
        told = [{"name": each.name, "labels": each.labels, "value": each.value} for each in samples]
        click.echo(msgspec.json.encode({"samples": told, "notice": NOTICE}).decode())
    else:
        click.echo(generate_latest(registry).decode(), nl=False)


def _serve(
    bus: Subscriber, figures: Figures, registry: "CollectorRegistry", address: tuple[str, int], *, as_json: bool
) -> None:
    """Until Ctrl-C. Raises PublishError where something else has the port."""
    from prometheus_client import start_http_server

    host, port = address
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        fix = "choose another port: --listen 127.0.0.1:PORT"
        raise PublishError(f"cannot listen on {host}:{port}: {error.strerror}", fix=fix) from None
    try:
        shown = f"[{host}]" if ":" in host else host
        _tell(f"http://{shown}:{server.server_port}/metrics", as_json=as_json)
        while True:
            _hear(bus, figures, GLANCE_S)
    except KeyboardInterrupt:
        return
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _hear(bus: Subscriber, figures: Figures, patience_s: float) -> None:
    message = bus.receive(patience_s)
    if message is not None:
        figures.hear(message)
    figures.lost, figures.unreadable = bus.gaps, bus.unreadable


def _tell(url: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"listening": url}).decode())
    else:
        click.echo(f"Prometheus may ask at {url}", err=True)


def _address(text: str) -> tuple[str, int]:
    """Host and port; port 0 takes any free one. Raises SettingsError for what is not on this machine."""
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        here, number = ipaddress.ip_address(host).is_loopback, int(port)
    except ValueError:
        raise SettingsError(f"--listen {text!r} is not HOST:PORT", fix=f"write e.g. {LISTEN}") from None
    if not here or not 0 <= number <= 65535:
        what = f"--listen {text!r} is not on this machine" if not here else f"--listen {text!r}: no such port"
        raise SettingsError(what, fix=f"write e.g. {LISTEN}; for another machine, use a tunnel or a proxy")
    return host, number
