"""Builds a bundle's plans, replays its golden cells on each, times them, and puts those that passed into the cache."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgecell import __version__, clock
from edgecell.app import Chosen
from edgecell.bundle import Bundle, Encoding
from edgecell.engines.trt import building, driver, library, plans
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.plans import Machine, NotPrepared, PlanKey, PlanRecord, Precision
from edgecell.engines.trt.request import BuildRequest, Progress
from edgecell.errors import BundleMismatch, EngineBuildError, EngineError, MissingDependency
from edgecell.golden import replay
from edgecell.prepare.result import Prepared, Tried, Verdict
from edgecell.prepare.timing import medians_ms
from edgecell.protocols import Engine

LOG = logging.getLogger("edgecell.prepare")

Tell = Callable[[str, Progress], None]
"""What is being done, e.g. "pbc8 int8", and how far it is."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Trial:
    """One precision on its way. record: None until there is a plan. due: to be built. error: why there is no plan."""

    precision: Precision
    encoding: Encoding
    model: Path
    key: PlanKey
    note: str
    due: bool
    record: PlanRecord | None = None
    plan: bytes = b""
    error: EngineError | BundleMismatch | None = None

    @property
    def runs(self) -> bool:
        """Whether there is a plan that may be tried."""
        return self.record is not None and not self.record.refused and self.error is None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Site:
    """Where it is done: the bundle, the engine that will run the plans, and the machine."""

    bundle: Bundle
    engine: Chosen
    machine: Machine
    folder: Path
    tell: Tell


def prepare(bundle: Bundle, engine: Chosen, *, force: bool, tell: Tell) -> Prepared:
    """Make `bundle` ready for `engine`, TensorRT's, on this machine. What is there already stays, unless `force`.

    Raises MissingDependency without driver, TensorRT or a CUDA binding; EngineError for a version or device that cannot be used
    and a cache that cannot be written; where no plan may be used: BundleMismatch if golden cells differ, else EngineBuildError.
    """
    found = driver.look()
    vendor = library.find(found)
    machine = plans.machine_of(found, vendor, engine.options.device)
    probe = engine.part.probe()
    if not probe.usable:
        raise MissingDependency(f"TensorRT {vendor.text} is there, but cannot be used: {probe.missing}")
    site = _Site(bundle=bundle, engine=engine, machine=machine, folder=plans.folder_of(engine.options.cache), tell=tell)
    wanted = _wanted(vendor)
    there = {precision: encoding for precision, encoding in wanted.items() if f"{encoding}.onnx" in bundle.manifest.files}
    trials = [_trial(site, precision, encoding, force) for precision, encoding in there.items()]
    built = any(each.due for each in trials)
    if built:
        _try(site, trials)
    usable = [each.record for each in trials if each.record is not None and not each.record.refused]
    used = plans.fastest(usable, bundle.manifest) if usable else None
    done = Prepared(
        bundle=bundle.manifest.name,
        version=bundle.manifest.version,
        sha256=bundle.sha256,
        machine=machine,
        built=built,
        tried=(
            *(_tried(each, used) for each in trials),
            *(_absent(precision, encoding) for precision, encoding in wanted.items() if precision not in there),
        ),
        cache=str(site.folder),
    )
    if used is None:
        raise _hopeless(done)
    return done


def _wanted(vendor: Library) -> dict[Precision, Encoding]:
    """Precisions, and the file that each is built from: where types are strong, the half precision is in the model."""
    return {"int8": "s8s8", "fp16": "fp16" if vendor.strongly_typed else "float"}


def _trial(site: _Site, precision: Precision, encoding: Encoding, force: bool) -> _Trial:
    """Looked up in the cache. What is found there and cannot be used says why it is built anew."""
    model = site.bundle.file(f"{encoding}.onnx")
    key = plans.key_of(model, site.bundle.manifest, site.machine)
    trial = _Trial(precision=precision, encoding=encoding, model=model, key=key, note="", due=True)
    try:
        there = plans.stored(model, key, site.folder)
    except NotPrepared:
        trial.note = "new"
    except EngineError as error:
        trial.note = error.what
        LOG.warning("%s: it is built anew", error.what)
    else:
        trial.note = "built again, as asked for" if force else "already prepared"
        trial.due = force
        if not force:
            trial.record, trial.plan = there.record, there.plan
    return trial


def _try(site: _Site, trials: list[_Trial]) -> None:
    """Build what is due, verify and time all of them side by side, and store them."""
    with _beside(site.folder) as place:
        for trial in trials:
            if trial.due:
                _build(site, trial, place)
            if trial.runs and trial.record is not None:
                trial.record = plans.store(trial.record, trial.plan, place)
        _verify_and_time(site, trials, place)
    for trial in trials:
        if trial.record is not None:
            trial.record = plans.store(trial.record, trial.plan, site.folder)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A cache of its own for plans that are not verified yet, so that no run can meet them. Raises EngineError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=folder, prefix=".trial-")
    except OSError as error:
        fix = "name a folder that can be written in [engine] cache"
        raise EngineError(f"cannot write plans to {folder}: {error.strerror}", fix=fix) from error
    with place as name:
        yield Path(name)


def _build(site: _Site, trial: _Trial, place: Path) -> None:
    options, manifest = site.engine.options, site.bundle.manifest
    request = BuildRequest(
        model=trial.model,
        plan=place / f"{trial.precision}.built",
        precision=trial.precision,
        shapes={manifest.input.name: plans.profile_of(manifest)},
        workspace_bytes=options.workspace_mib << 20,
        timing_cache=plans.timing_cache(site.folder, site.machine),
        device=options.device,
    )
    what = f"{manifest.name} {trial.precision}"
    try:
        made = building.build(request, lambda progress: site.tell(what, progress))
    except EngineBuildError as error:
        trial.error = error
        return
    for warning in made.warnings:
        LOG.debug("%s: TensorRT warns: %s", what, warning)
    trial.plan = request.plan.read_bytes()
    trial.record = PlanRecord(
        key=trial.key,
        bundle=manifest.name,
        encoding=trial.encoding,
        plan_sha256=None,
        build_s=made.seconds,
        edgecell=__version__,
        utc=clock.utc_now(),
    )


def _verify_and_time(site: _Site, trials: list[_Trial], place: Path) -> None:
    """Open every plan, replay the golden cells, time those that passed. What goes wrong is kept with the trial."""
    options = msgspec.structs.replace(site.engine.options, cache=place)
    passed: list[tuple[_Trial, PlanRecord, Engine]] = []
    with ExitStack() as stack:
        for trial in trials:
            if not trial.runs or trial.record is None:
                continue
            site.tell(
                f"{site.bundle.manifest.name} {trial.precision}", Progress(elapsed_s=0, phase="replaying the golden cells")
            )
            try:
                engine: Any = site.engine.part(trial.model, manifest=site.bundle.manifest, options=options)
                report = replay(site.bundle, stack.enter_context(engine), trial.encoding)
            except BundleMismatch as error:
                trial.error = error
                trial.record = msgspec.structs.replace(trial.record, refused=error.what)
            except EngineError as error:
                trial.error, trial.record = error, None
            else:
                verified = msgspec.structs.replace(trial.record, deviation=report.deviation, tolerance=report.tolerance)
                passed.append((trial, verified, engine))
        if passed:
            site.tell(site.bundle.manifest.name, Progress(elapsed_s=0, phase="timing"))
        shapes = plans.profile_of(site.bundle.manifest)
        smallest = (shapes.min[0], *shapes.opt[1:])  # pictures are as large as usual: times are told by their number alone
        figures = medians_ms([engine for _, _, engine in passed], [smallest, shapes.opt])
    for (trial, verified, _), p50_ms in zip(passed, figures, strict=True):
        trial.record = msgspec.structs.replace(verified, p50_ms=p50_ms)


def _absent(precision: Precision, encoding: Encoding) -> Tried:
    """Bundles of older workshops have fewer files."""
    why, fix = f"the bundle has no {encoding}.onnx", "build it again with the workshop"
    return Tried(precision=precision, encoding=encoding, verdict="failed", note="", why=why, fix=fix)


def _tried(trial: _Trial, used: PlanRecord | None) -> Tried:
    found = Tried(precision=trial.precision, encoding=trial.encoding, verdict="failed", note=trial.note)
    record = trial.record
    if record is None:
        problem = trial.error or EngineBuildError("it was not built")
        return msgspec.structs.replace(found, why=problem.what, fix=problem.fix)
    verdict: Verdict = "refused" if record.refused else "used" if record is used else "kept"
    return msgspec.structs.replace(
        found,
        verdict=verdict,
        why=record.refused,
        build_s=record.build_s,
        p50_ms=dict(record.p50_ms),
        deviation=dict(record.deviation),
        tolerance=dict(record.tolerance),
    )


def _hopeless(done: Prepared) -> EngineError | BundleMismatch:
    """The error where no plan may be used: that answers are wrong says more than that there are none."""
    what = f"no plan of {done.bundle} may be used: {'; '.join(f'{each.precision}: {each.why}' for each in done.tried)}"
    fixes = [each.fix for each in done.tried if each.fix]
    if any(each.verdict == "refused" for each in done.tried):
        return BundleMismatch(what, fix="run with --engine onnxrt, and report this line")
    return EngineBuildError(what, fix=fixes[0] if fixes else "run with --engine onnxrt")
