"""Composition root: settings -> parts. The only place that turns names into classes.

`plan` resolves everything without touching hardware; `Plan.recogniser`, `Plan.runtime` and `Runtime.run` open it.
"""

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgecell import __version__, automatic, clock, engines, plugins, publishers, segmenters, sources, stoprule
from edgecell.automatic import EVERYWHERE
from edgecell.bundle import Bundle, CellClass
from edgecell.classify import Classifier
from edgecell.drift import reference_of
from edgecell.errors import SettingsError
from edgecell.gate import Limits, limits_of
from edgecell.golden import replay
from edgecell.journal import chain
from edgecell.journal.events import RunStarted
from edgecell.journal.journal import Recorder
from edgecell.journal.record import Record
from edgecell.journal.recording import recording
from edgecell.ledger import Identity
from edgecell.messages import Kind
from edgecell.optics.correct import Correction
from edgecell.optics.file import Optics, used
from edgecell.pipeline import Correct
from edgecell.protocols import Engine, Observer, Seekable, Segmenter
from edgecell.routing import open_bundles, segmenter_bundle
from edgecell.runtime import Classifying, Detecting, Runtime
from edgecell.settings import AUTO, PartSettings, Settings, decode_options, plain_options
from edgecell.telemetry.device import Telemetry
from edgecell.wire import Model

TABLES: Mapping[str, Mapping[str, str]] = {
    "source": sources.TABLE,
    "segmenter": segmenters.TABLE,
    "engine": engines.TABLE,
    "publisher": publishers.TABLE,
}
SEGMENTER = "segmenter"
"""Role of the segmenter's bundle, beside the kinds of cell that classifiers have."""

LOG = logging.getLogger("edgecell.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A part that was found and whose options are valid. why, fix: of an engine that `auto` chose, and how to get another."""

    name: str
    part: type[Any]
    options: Any
    why: str = ""
    fix: str = ""

    def make(self) -> Any:
        return self.part(self.options)

    def told(self) -> dict[str, Any]:
        """Name and options as JSON holds them."""
        return {"part": self.name, **plain_options(self.options)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recogniser:
    """What turns frames into labelled cells, opened and verified. classes: label -> what it means. correct, limits: as in
    Detecting."""

    segmenter: Segmenter
    classifiers: Mapping[Kind, Classifier]
    classes: Mapping[str, CellClass]
    models: tuple[Model, ...]
    correct: Correct | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings with every name resolved and every bundle verified; nothing is open yet.

    engines: for every kind of `bundles`, and for SEGMENTER where there is such a bundle. They are final: where one fails later,
    that is an error. optics: None where frames are used as they come.
    """

    settings: Settings
    source: Chosen
    segmenter: Chosen
    engines: Mapping[str, Chosen]
    publisher: Chosen
    bundles: Mapping[Kind, Bundle]
    segmenter_bundle: Bundle | None = None
    optics: Optics | None = None

    @property
    def classes(self) -> dict[str, CellClass]:
        """Label -> what it means, of all bundles; of a segmenter's kinds those that no classifier refines."""
        kinds = () if self.segmenter_bundle is None else self.segmenter_bundle.manifest.classes
        refined = {each.name: each for bundle in self.bundles.values() for each in bundle.manifest.classes}
        return {**{each.name: each for each in kinds if each.name not in self.bundles}, **refined}

    @contextmanager
    def recogniser(self) -> Iterator[Recogniser]:
        """Segmenter and classifiers, their golden cells replayed. Raises BundleMismatch, EngineError, MissingDependency."""
        self._tell_engines()
        with self._classifying() as classifying, self._detecting() as detecting:
            yield Recogniser(
                segmenter=detecting.segmenter,
                classifiers=classifying.classifiers,
                classes=self.classes,
                models=(*classifying.models, *detecting.models),
                correct=detecting.correct,
                limits=detecting.limits,
            )

    @contextmanager
    def runtime(self, observer: Observer, resume: str | None = None, run_id: str = "") -> Iterator[Runtime]:
        """The live loop. Journal and bus are open; models, segmenter and camera are opened by its `run`, on their threads.

        resume: the id of a run in the journal to go on with, recording.LATEST, or None for a new one. run_id: of a new one, ""
        for any. Raises JournalError.
        """
        self._tell_engines()
        with ExitStack() as stack:
            run_id = run_id or str(uuid.uuid4())
            recorder = stack.enter_context(self._recorder(resume, run_id))
            publisher = self.publisher.make()
            if recorder is not None:
                publisher.replay_from(stack.enter_context(Record.open(recorder.folder)))
            stack.enter_context(publisher)
            identity = Identity(
                device_id=self.settings.device_id,
                run_id=recorder.run_id if recorder else run_id,
                sample_id=self.settings.sample_id,
            )
            yield Runtime(
                identity=identity,
                settings=self.settings.run,
                source=self.source.make(),
                detecting=self._detecting,
                classifying=self._classifying,
                classes=self.classes,
                publisher=publisher,
                observer=observer,
                recorder=recorder,
                telemetry=Telemetry(recorder.folder if recorder else Path()).look,
                reference=reference_of(self.optics) if self.optics else None,
                preview=bool(getattr(self.publisher.options, "preview", False)),
            )

    def _recorder(self, resume: str | None, run_id: str) -> AbstractContextManager[Recorder | None]:
        journal = self.settings.journal
        if journal is not None and journal.enabled:
            return recording(journal, self._started(run_id), resume)
        if resume is not None:
            what = "a run is resumed from its journal, and none is kept"
            raise SettingsError(what, fix="leave out --no-journal, and enabled = false in [journal]; or leave out --resume")
        return nullcontext()

    def _started(self, run_id: str) -> RunStarted:
        """What the journal says of a new run. Of the settings all that decides what is counted, defaults included."""
        settings = self.settings
        essence: dict[str, Any] = {role: each.told() for role, each in (("source", self.source), ("segmenter", self.segmenter))}
        source = self.source.make()
        if isinstance(source, Seekable):
            essence["source"]["frames_are"] = source.fingerprint()
        essence["run"] = msgspec.to_builtins(settings.run)
        if self.optics is not None:
            essence["optics"] = msgspec.to_builtins(self.optics)
        bundles = self.bundles if self.segmenter_bundle is None else {**self.bundles, SEGMENTER: self.segmenter_bundle}
        essence["models"] = {
            role: {
                "name": bundle.manifest.name,
                "version": bundle.manifest.version,
                "sha256": bundle.sha256,
                "engine": self.engines[role].told(),
            }
            for role, bundle in bundles.items()
        }
        return RunStarted(
            run_id=run_id,
            utc=clock.utc_now(),
            clock_synced=clock.synced(),
            device_id=settings.device_id,
            sample_id=settings.sample_id,
            version=__version__,
            settings=essence,
            settings_sha256=chain.sha256(msgspec.json.encode(essence, order="sorted")),
            classes=self.classes,
            operator=settings.operator,
            specimen=next((bundle.manifest.specimen for bundle in bundles.values()), ""),
            proofs={role: bundle.proof for role, bundle in bundles.items()},
        )

    @contextmanager
    def _classifying(self) -> Iterator[Classifying]:
        """Classifiers by kind of cell; their engines are open, their golden cells replayed."""
        with ExitStack() as stack:
            engines = {kind: stack.enter_context(opened(each, self.engines[kind])) for kind, each in self.bundles.items()}

            def again() -> None:
                for kind, engine in engines.items():
                    reopen(engine, self.bundles[kind], self.engines[kind])

            yield Classifying(
                classifiers={kind: Classifier(engine, self.bundles[kind]) for kind, engine in engines.items()},
                models=tuple(_model(kind, self.bundles[kind], each, self.engines[kind]) for kind, each in engines.items()),
                reopen=again,
            )

    @contextmanager
    def _detecting(self) -> Iterator[Detecting]:
        """The segmenter; where it has an engine that is open, its golden cells replayed."""
        bundle, focus = self.segmenter_bundle, self.optics.focus if self.optics else None
        correct = Correction(self.optics, self.settings.optics.file) if self.optics else None
        limits = limits_of(focus.softest_um if focus else None)
        if bundle is None:
            with self.segmenter.make() as segmenter:
                yield Detecting(segmenter=segmenter, models=(), reopen=lambda: None, correct=correct, limits=limits)
            return
        chosen, part = self.engines[SEGMENTER], self.segmenter.part
        with opened(bundle, chosen) as engine, part(engine, bundle, self.segmenter.options) as segmenter:
            yield Detecting(
                segmenter=segmenter,
                models=(_model(SEGMENTER, bundle, engine, chosen),),
                reopen=partial(reopen, engine, bundle, chosen),
                correct=correct,
                limits=limits,
            )

    def _tell_engines(self) -> None:
        """Log what `auto` chose and why, one line for all bundles that it holds for; where there is no device at all, and so no
        choice, for those only who want to know everything."""
        named = {**self.bundles, **({SEGMENTER: self.segmenter_bundle} if self.segmenter_bundle else {})}
        told: dict[tuple[str, str, str], list[str]] = {}
        for role, bundle in named.items():
            engine = self.engines[role]
            if engine.why:
                told.setdefault((engine.name, engine.why, engine.fix), []).append(bundle.manifest.name)
        for (name, why, fix), bundles in told.items():
            level = logging.INFO if fix or name != EVERYWHERE else logging.DEBUG
            LOG.log(level, "engine %s for %s: %s%s", name, " and ".join(bundles), why, f" ({fix})" if fix else "")


@contextmanager
def opened(bundle: Bundle, chosen: Chosen) -> Iterator[Engine]:
    """An engine with the bundle's model, its golden cells replayed. Raises BundleMismatch, EngineError, MissingDependency."""
    part, options = chosen.part, chosen.options
    encoding = part.encoding_of(bundle, options)
    with part(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options) as engine:
        replay(bundle, engine, encoding)
        yield engine


def reopen(engine: Engine, bundle: Bundle, chosen: Chosen) -> None:
    """Close an engine and open the same one again, its golden cells replayed. Raises as `opened`."""
    engine.__exit__(None, None, None)
    engine.__enter__()
    replay(bundle, engine, chosen.part.encoding_of(bundle, chosen.options))


def plan(settings: Settings) -> Plan:
    """Resolve parts, options and bundles. Raises SettingsError, BundleError. Opens no hardware and no socket."""
    bundles = open_bundles(settings.models, settings.trust)
    segmenter = choose("segmenter", segmenter_for(settings.segmenter, bundles))
    finder = segmenter_bundle(segmenter.options, settings, bundles)
    planned = Plan(
        settings=settings,
        source=choose("source", settings.source),
        segmenter=segmenter,
        engines=engines_for(settings.engine, bundles if finder is None else {**bundles, SEGMENTER: finder}),
        publisher=choose("publisher", settings.publisher),
        bundles=bundles,
        segmenter_bundle=finder,
        optics=used(settings.optics.file, getattr(segmenter.options, "pixel_um", None)),
    )
    if settings.run.stop is not None:
        stoprule.check(settings.run.stop, planned.classes)
    return planned


def segmenter_for(asked: PartSettings, classifiers: Mapping[Kind, Bundle]) -> PartSettings:
    """The segmenter that was asked for; where none was, the one for the classifiers' specimen."""
    if asked.part != AUTO:
        return asked
    blood = all(bundle.manifest.specimen == "blood" for bundle in classifiers.values())
    return msgspec.structs.replace(asked, part="network" if blood else "stain")


def engines_for(asked: PartSettings, bundles: Mapping[str, Bundle]) -> dict[str, Chosen]:
    """By role, the engine of each bundle: the one that was asked for; where none was, the fastest that answers as certified, as
    `edgecell prepare` found out here; where it did not, TensorRT if it can be used and the bundle's plan was prepared and
    verified here, else ONNX Runtime. Raises SettingsError."""
    if asked.part != AUTO:
        chosen = choose("engine", asked)
        return dict.fromkeys(bundles, chosen)
    if asked.options:
        named = ", ".join(asked.options).strip() or "one"
        fix = f'name the engine that they are for, e.g. part = "{EVERYWHERE}"'
        raise SettingsError(f"{asked.where}: the engine {AUTO!r} takes no options ({named})", fix=fix)
    return {role: _automatic(bundle) for role, bundle in bundles.items()}


def _automatic(bundle: Bundle) -> Chosen:
    found = automatic.decide(bundle, engine_classes())
    return replace(choose("engine", found.engine), why=found.why, fix=found.fix)


def engine_classes() -> dict[str, type[Any]]:
    """Name -> class of each engine in the table."""
    return {name: plugins.load("engine", TABLES["engine"], name) for name in TABLES["engine"]}


def choose(role: str, chosen: PartSettings) -> Chosen:
    """The part that the settings name, with its options decoded. Raises SettingsError."""
    part = plugins.load(role, TABLES[role], chosen.part)
    return Chosen(name=chosen.part, part=part, options=decode_options(part, chosen))


def _model(role: str, bundle: Bundle, engine: Engine, chosen: Chosen) -> Model:
    """What the messages say of a bundle and of its engine, once that is open: only then it knows what it runs on."""
    manifest, why = bundle.manifest, f" (auto: {chosen.why})" if chosen.why else ""
    return Model(
        role=role,
        name=manifest.name,
        version=manifest.version,
        sha256=bundle.sha256,
        engine=f"{engine.description}{why}",
    )
