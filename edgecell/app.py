"""Composition root: settings -> parts. The only place that turns names into classes.

`plan` resolves everything without touching hardware; `Plan.recogniser`, `Plan.runtime` and `Runtime.run` open it.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from edgecell import engines, plugins, publishers, segmenters, sources
from edgecell.bundle import Bundle, CellClass, open_bundle
from edgecell.classify import Classifier
from edgecell.errors import SettingsError
from edgecell.golden import replay
from edgecell.ledger import Identity
from edgecell.messages import Kind
from edgecell.protocols import Engine, Observer, Segmenter
from edgecell.runtime import Runtime
from edgecell.settings import PartSettings, Settings, decode_options
from edgecell.signature import Trust
from edgecell.wire import Model

TABLES: Mapping[str, Mapping[str, str]] = {
    "source": sources.TABLE,
    "segmenter": segmenters.TABLE,
    "engine": engines.TABLE,
    "publisher": publishers.TABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A part that was found and whose options are valid."""

    name: str
    part: type[Any]
    options: Any

    def make(self) -> Any:
        return self.part(self.options)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recogniser:
    """What turns frames into labelled cells, opened and verified. classes: label -> what it means."""

    segmenter: Segmenter
    classifiers: Mapping[Kind, Classifier]
    classes: Mapping[str, CellClass]
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings with every name resolved and every bundle verified; nothing is open yet."""

    settings: Settings
    source: Chosen
    segmenter: Chosen
    engine: Chosen
    publisher: Chosen
    bundles: Mapping[Kind, Bundle]

    @property
    def classes(self) -> dict[str, CellClass]:
        """Label -> what it means, of all bundles."""
        return {each.name: each for bundle in self.bundles.values() for each in bundle.manifest.classes}

    @contextmanager
    def recogniser(self) -> Iterator[Recogniser]:
        """Segmenter and classifiers, their golden cells replayed. Raises BundleMismatch, EngineError, MissingDependency."""
        with self._classifiers() as (classifiers, models), self.segmenter.make() as segmenter:
            yield Recogniser(segmenter=segmenter, classifiers=classifiers, classes=self.classes, models=models)

    @contextmanager
    def runtime(self, observer: Observer) -> Iterator[Runtime]:
        """The live loop. Models and the bus are open; segmenter and camera are opened by its `run`, on threads of their own."""
        identity = Identity(device_id=self.settings.device_id, run_id=str(uuid.uuid4()), sample_id=self.settings.sample_id)
        with self._classifiers() as (classifiers, models), self.publisher.make() as publisher:
            yield Runtime(
                identity=identity,
                settings=self.settings.run,
                source=self.source.make(),
                segmenter=self.segmenter.make(),
                classifiers=classifiers,
                classes=self.classes,
                models=models,
                publisher=publisher,
                observer=observer,
            )

    @contextmanager
    def _classifiers(self) -> Iterator[tuple[dict[Kind, Classifier], tuple[Model, ...]]]:
        """By kind of cell, their engines open and their golden cells replayed, and what the messages say of them."""
        with ExitStack() as stack:
            classifiers: dict[Kind, Classifier] = {}
            models: list[Model] = []
            for kind, bundle in self.bundles.items():
                engine = stack.enter_context(self._engine(bundle))
                replay(bundle, engine, self.engine.part.encoding)
                classifiers[kind] = Classifier(engine, bundle)
                models.append(_model(kind, bundle, engine))
            yield classifiers, tuple(models)

    def _engine(self, bundle: Bundle) -> Any:
        part = self.engine.part
        return part(bundle.file(f"{part.encoding}.onnx"), manifest=bundle.manifest, options=self.engine.options)


def plan(settings: Settings) -> Plan:
    """Resolve parts, options and bundles. Raises SettingsError, BundleError. Opens no hardware and no socket."""
    return Plan(
        settings=settings,
        source=choose("source", settings.source),
        segmenter=choose("segmenter", settings.segmenter),
        engine=choose("engine", settings.engine),
        publisher=choose("publisher", settings.publisher),
        bundles=open_bundles(settings.models, settings.trust),
    )


def choose(role: str, chosen: PartSettings) -> Chosen:
    """The part that the settings name, with its options decoded. Raises SettingsError."""
    part = plugins.load(role, TABLES[role], chosen.part)
    return Chosen(name=chosen.part, part=part, options=decode_options(part, chosen))


def open_bundles(models: Mapping[Kind, str], trust: Trust) -> dict[Kind, Bundle]:
    """Kind of cell -> verified bundle. Raises BundleError; SettingsError for bundles of two specimens in one run."""
    bundles = {kind: open_bundle(name, trust) for kind, name in models.items()}
    specimens = {bundle.manifest.specimen: kind for kind, bundle in bundles.items()}
    if len(specimens) > 1:
        named = ", ".join(f"{kind}: {specimen}" for specimen, kind in specimens.items())
        raise SettingsError(f"[models] mixes specimens ({named})", fix="use bundles of one specimen in one run")
    return bundles


def _model(kind: Kind, bundle: Bundle, engine: Engine) -> Model:
    manifest = bundle.manifest
    return Model(role=kind, name=manifest.name, version=manifest.version, sha256=bundle.sha256, engine=engine.description)
