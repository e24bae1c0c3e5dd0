"""`edgecell prepare`: TensorRT's plans for this device, built, verified and timed."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.table import Table

from edgecell import app, clock, settings
from edgecell.app import Chosen
from edgecell.bundle import Bundle, open_bundle
from edgecell.engines.trt.plans import folder_of
from edgecell.engines.trt.request import Progress
from edgecell.errors import BundleMismatch, EngineBuildError, EngineError, SettingsError
from edgecell.messages import NOTICE
from edgecell.prepare import offline
from edgecell.prepare.preparing import Tell, prepare
from edgecell.prepare.result import Prepared, Tried
from edgecell.settings import PartSettings, Settings
from edgecell.signature import ANY

LOG = logging.getLogger("edgecell.prepare")
LINE_S = 10.0
"""Without a terminal a line is written at least this often, and at every change of phase."""


class _Target(NamedTuple):
    bundle: Bundle
    engine: Chosen


@click.command()
@click.argument("what", metavar="[SETTINGS.toml|BUNDLE]...", nargs=-1)
@click.option("--force", is_flag=True, help="Build also what is prepared already.")
@click.option(
    "--offline-export",
    "export",
    metavar="FILE.zip",
    type=click.Path(path_type=Path),
    help="Build nothing: pack the bundles for a device without internet.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line a bundle; of an export one in all.")
def command(what: tuple[str, ...], force: bool, export: Path | None, as_json: bool) -> None:
    """Make model bundles ready for TensorRT on this device.

    For each bundle an INT8 and an FP16 plan are built, which takes minutes, the golden cells are replayed on both, and both are
    timed in turns. Runs with --engine auto or trt then take the faster one that passed. A plan is tied to the model, TensorRT's
    version, the device, the driver and the shapes: after an upgrade `prepare` builds anew, else it says that all is there.

    Settings stand for the bundles that they name; their table [engine], if it names part = "trt", says where plans are kept,
    on which device, and how much memory a build may take. A folder that an export was unpacked into stands for the bundles in
    it. Without an argument: the bundles of a run without settings.

    \b
    Examples:
      edgecell prepare
      edgecell prepare bench.toml
      edgecell prepare pbc8 bundles/mine --force
      edgecell prepare --offline-export for-the-bench.zip
    """
    every = [each for given in what or ("",) for each in _targets(given)]
    targets = list({(each.bundle.sha256, repr(each.engine.options)): each for each in every}.values())
    if not targets:
        raise SettingsError(f"{' '.join(what)} names no bundle", fix="name one under [models]")
    if export is not None:
        content = offline.export([each.bundle for each in targets], folder_of(targets[0].engine.options.cache), export)
        click.echo(msgspec.json.encode({"file": str(export), "content": content}) if as_json else "\n".join(content))
        click.echo(f"{export}: unpack it on the device, then `edgecell prepare ./unpacked`", err=True)
        return
    failures = []
    for bundle, engine in targets:
        with _progress() as tell:
            outcome = _one(bundle, engine, force, tell)
        if not isinstance(outcome, Prepared):
            failures.append(outcome)
        elif as_json:
            click.echo(msgspec.json.encode(outcome))
        else:
            _show(outcome)
    for also in failures[1:]:
        LOG.error("%s", also)
    if failures:
        raise failures[0]
    click.echo(NOTICE, err=as_json)


def _targets(given: str) -> list[_Target]:
    """The bundles that an argument stands for, "" for none. Raises SettingsError, BundleError."""
    path = Path(given)
    if given == "" or path.suffix == ".toml":
        plan = app.plan(settings.load(path) if given else Settings())
        engine = _engine(plan.settings.engine)
        finder = [] if plan.segmenter_bundle is None else [plan.segmenter_bundle]
        return [_Target(bundle, engine) for bundle in (*plan.bundles.values(), *finder)]
    engine, folders = _engine(PartSettings(part=app.ACCELERATED)), offline.unpacked(path)
    if folders:
        offline.take_timing(path, folder_of(engine.options.cache))
    return [_Target(open_bundle(each, ANY), engine) for each in (folders or [path])]


def _engine(asked: PartSettings) -> Chosen:
    """TensorRT with the options of the settings, if these are its own."""
    return app.choose("engine", asked if asked.part == app.ACCELERATED else PartSettings(part=app.ACCELERATED))


def _one(bundle: Bundle, engine: Chosen, force: bool, tell: Tell) -> Prepared | BundleMismatch | EngineError:
    """A bundle that cannot be prepared does not keep the others from it; a machine that cannot prepare any does."""
    try:
        return prepare(bundle, engine, force=force, tell=tell)
    except (BundleMismatch, EngineBuildError) as error:
        return error


@contextmanager
def _progress() -> Iterator[Tell]:
    """Shows what is being done on stderr: one line that changes, or lines now and then where that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with Console(stderr=True).status("looking for TensorRT") as status:
        yield lambda what, progress: status.update(f"{what}: {progress}")


class _Lines:
    def __init__(self) -> None:
        self._phase, self._next_ns = "", 0

    def __call__(self, what: str, progress: Progress) -> None:
        phase = f"{what}: {progress.phase}"
        if phase != self._phase or clock.monotonic_ns() >= self._next_ns:
            self._phase, self._next_ns = phase, clock.monotonic_ns() + round(LINE_S * 1e9)
            click.echo(f"{what}: {progress}", err=True)


def _show(done: Prepared) -> None:
    machine, used = done.machine, done.used
    where = (
        f"TensorRT {machine.tensorrt} on {machine.device}, compute capability {machine.compute_capability}, {machine.platform}"
    )
    how = "prepared" if done.built else "already prepared"
    click.echo(f"{done.bundle} {done.version} {how}: {where}")
    table = Table("precision", "made from")
    for name in ("built in s", "p50 ms, by batch size", "golden cells: deviation / allowed"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for each in done.tried:
        times = ", ".join(f"{batch}: {ms:.2f}" for batch, ms in sorted(each.p50_ms.items())) or "-"
        deviations = "\n".join(
            f"{name} {value:.3g} / {each.tolerance[name]:.3g}" for name, value in sorted(each.deviation.items())
        )
        built = "-" if each.build_s is None else f"{each.build_s:.0f}"
        table.add_row(each.precision, f"{each.encoding}.onnx", built, times, deviations or "-", _verdict(each))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if used is not None:
        click.echo(f"runs take {used.precision}; kept in {done.cache}")


def _verdict(tried: Tried) -> str:
    return {"used": "used: the faster that passed", "kept": "passed, slower"}.get(tried.verdict) or (
        f"{tried.verdict}: {tried.why}" + (f". Fix: {tried.fix}" if tried.fix else "")
    )
