"""`edgecell prepare`: TensorRT's plans for this device, built, verified and timed, and all its engines compared."""

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
from edgecell.automatic import ACCELERATED
from edgecell.bundle import Bundle, open_bundle
from edgecell.engines.trt import driver
from edgecell.engines.trt.plans import folder_of
from edgecell.engines.trt.request import Progress
from edgecell.errors import BundleMismatch, EdgecellError, EngineBuildError, EngineError, MissingDependency, SettingsError
from edgecell.messages import NOTICE
from edgecell.prepare import offline
from edgecell.prepare.contest import compare
from edgecell.prepare.preparing import Tell, prepare
from edgecell.prepare.result import Prepared, Tried
from edgecell.ranking import Candidate, Ranking
from edgecell.settings import PartSettings, Settings
from edgecell.signature import ANY

LOG = logging.getLogger("edgecell.prepare")
LINE_S = 10.0
"""Without a terminal a line is written at least this often, and at every change of phase."""


class _Target(NamedTuple):
    """engine: TensorRT with its options. asked: by the settings, so that there is nothing to compare it with."""

    bundle: Bundle
    engine: Chosen
    asked: bool = False


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
    """Make model bundles ready for this device: build what TensorRT needs, and find out which engine is fastest.

    Where there is an NVIDIA GPU, an INT8 and an FP16 plan are built for each bundle, which takes minutes, the golden cells are
    replayed on both, and both are timed in turns. A plan is tied to the model, TensorRT's version, the device, the driver and
    the shapes: after an upgrade `prepare` builds anew, else it says that all is there.

    Then every engine that is installed is tried: those that answer the golden cells as certified are timed in turns, half a
    minute a bundle, and runs with --engine auto take the fastest. This holds for the bundle, the processor and the versions of
    the engines; after a change of these, compare again. Where settings ask for TensorRT there is nothing to compare.

    Settings stand for the bundles that they name; their table [engine], if it names part = "trt", says where plans are kept,
    on which device, and how much memory a build may take: then TensorRT must be there. A folder that an export was unpacked
    into stands for the bundles in it. Without an argument: the bundles of a run without settings.

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
    failures: list[EdgecellError] = []
    gpu = _gpu()
    for target in targets:
        outcomes: list[Prepared | Ranking | EdgecellError] = []
        with _progress() as tell:
            if gpu or target.asked:
                outcomes.append(_one(target, force, tell))
            if not target.asked:
                outcomes.append(compare(target.bundle, folder_of(None), tell))
        failures += [error for outcome in outcomes if (error := _told(outcome, as_json=as_json)) is not None]
    for also in failures[1:]:
        LOG.error("%s", also)
    if failures:
        raise failures[0]
    click.echo(NOTICE, err=as_json)


def _gpu() -> bool:
    """Whether there is a driver, and so a device that is to be prepared."""
    try:
        driver.look()
    except EdgecellError:
        return False
    return True


def _targets(given: str) -> list[_Target]:
    """The bundles that an argument stands for, "" for none. Raises SettingsError, BundleError."""
    path = Path(given)
    if given == "" or path.suffix == ".toml":
        plan = app.plan(settings.load(path) if given else Settings())
        engine, asked = _engine(plan.settings.engine), plan.settings.engine.part == ACCELERATED
        finder = [] if plan.segmenter_bundle is None else [plan.segmenter_bundle]
        return [_Target(bundle, engine, asked) for bundle in (*plan.bundles.values(), *finder)]
    engine, folders = _engine(PartSettings(part=ACCELERATED)), offline.unpacked(path)
    if folders:
        offline.take_timing(path, folder_of(engine.options.cache))
    return [_Target(open_bundle(each, ANY), engine) for each in (folders or [path])]


def _engine(asked: PartSettings) -> Chosen:
    """TensorRT with the options of the settings, if these are its own."""
    return app.choose("engine", asked if asked.part == ACCELERATED else PartSettings(part=ACCELERATED))


def _one(target: _Target, force: bool, tell: Tell) -> Prepared | EdgecellError:
    """A bundle that cannot be prepared does not keep the others from it. Nor does a machine that cannot prepare any keep other
    engines from being compared; where TensorRT was asked for, that is raised at once."""
    try:
        return prepare(target.bundle, target.engine, force=force, tell=tell)
    except (BundleMismatch, EngineBuildError) as error:
        return error
    except (EngineError, MissingDependency) as error:
        if target.asked:
            raise
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


def _told(outcome: Prepared | Ranking | EdgecellError, *, as_json: bool) -> EdgecellError | None:
    """Shows what came of a bundle; the error where nothing of it may be used."""
    if isinstance(outcome, EdgecellError):
        return outcome
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        _show(outcome) if isinstance(outcome, Prepared) else _show_ranking(outcome)
    if isinstance(outcome, Ranking):
        try:
            outcome.winner()
        except EngineError as error:
            return error
    return None


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
        built = "-" if each.build_s is None else f"{each.build_s:.0f}"
        table.add_row(each.precision, f"{each.encoding}.onnx", built, _times(each), _deviations(each), _verdict(each))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if used is not None:
        click.echo(f"runs on TensorRT take {used.precision}; kept in {done.cache}")


def _show_ranking(found: Ranking) -> None:
    click.echo(f"{found.bundle}: engines compared on {found.setup.processor}, {found.setup.cores} cores")
    table = Table("engine", "runs")
    for name in ("p50 ms, by batch size", "golden cells: deviation / allowed"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for each in found.candidates:
        table.add_row(
            each.engine,
            f"{each.encoding}.onnx" if each.encoding else "-",
            _times(each),
            _deviations(each),
            _standing(each, found),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if found.used is not None:
        click.echo(f"runs with --engine auto take {found.used.engine} with {found.used.encoding}: {found.used.runs}")


def _standing(candidate: Candidate, found: Ranking) -> str:
    if candidate.verdict == "passed":
        return "used" if candidate == found.used else "passed"
    return f"{candidate.verdict}: {candidate.why}" + (f". Fix: {candidate.fix}" if candidate.fix else "")


def _times(each: Tried | Candidate) -> str:
    return ", ".join(f"{batch}: {ms:.2f}" for batch, ms in sorted(each.p50_ms.items())) or "-"


def _deviations(each: Tried | Candidate) -> str:
    return (
        "\n".join(f"{name} {value:.3g} / {each.tolerance[name]:.3g}" for name, value in sorted(each.deviation.items())) or "-"
    )


def _verdict(tried: Tried) -> str:
    return {"used": "used: the faster that passed", "kept": "passed, slower"}.get(tried.verdict) or (
        f"{tried.verdict}: {tried.why}" + (f". Fix: {tried.fix}" if tried.fix else "")
    )
