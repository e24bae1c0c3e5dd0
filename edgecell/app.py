"""Composition root: settings -> parts. The only place that turns names into classes.

`plan` resolves everything without touching hardware; `Plan.recogniser`, `Plan.runtime` and `Runtime.run` open it.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgecell import engines, plugins, publishers, segmenters, sources
from edgecell.bundle import Bundle, CellClass, open_bundle
from edgecell.classify import Classifier
from edgecell.errors import SettingsError
from edgecell.golden import replay
from edgecell.ledger import Identity
from edgecell.messages import Kind
from edgecell.protocols import Engine, Observer, Segmenter
from edgecell.runtime import Runtime
from edgecell.settings import AUTO, PartSettings, Settings, bundle_folder, decode_options
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
    segmenter_bundle: Bundle | None = None

    @property
    def classes(self) -> dict[str, CellClass]:
        """Label -> what it means, of all bundles; of a segmenter's kinds those that no classifier refines."""
        kinds = () if self.segmenter_bundle is None else self.segmenter_bundle.manifest.classes
        refined = {each.name: each for bundle in self.bundles.values() for each in bundle.manifest.classes}
        return {**{each.name: each for each in kinds if each.name not in self.bundles}, **refined}

    @contextmanager
    def recogniser(self) -> Iterator[Recogniser]:
        """Segmenter and classifiers, their golden cells replayed. Raises BundleMismatch, EngineError, MissingDependency."""
        with self._models() as (classifiers, segmenter, models), segmenter:
            yield Recogniser(segmenter=segmenter, classifiers=classifiers, classes=self.classes, models=models)

    @contextmanager
    def runtime(self, observer: Observer) -> Iterator[Runtime]:
        """The live loop. Models and the bus are open; segmenter and camera are opened by its `run`, on threads of their own."""
        identity = Identity(device_id=self.settings.device_id, run_id=str(uuid.uuid4()), sample_id=self.settings.sample_id)
        with self._models() as (classifiers, segmenter, models), self.publisher.make() as publisher:
            yield Runtime(
                identity=identity,
                settings=self.settings.run,
                source=self.source.make(),
                segmenter=segmenter,
                classifiers=classifiers,
                classes=self.classes,
                models=models,
                publisher=publisher,
                observer=observer,
            )

    @contextmanager
    def _models(self) -> Iterator[tuple[dict[Kind, Classifier], Segmenter, tuple[Model, ...]]]:
        """Classifiers by kind of cell and the segmenter, which is not entered yet; their engines are open, their golden cells
        replayed. And what the messages say of the models."""
        with ExitStack() as stack:
            classifiers: dict[Kind, Classifier] = {}
            models: list[Model] = []
            for kind, bundle in self.bundles.items():
                engine = stack.enter_context(self._opened(bundle))
                classifiers[kind] = Classifier(engine, bundle)
                models.append(_model(kind, bundle, engine))
            if self.segmenter_bundle is None:
                segmenter = self.segmenter.make()
            else:
                engine = stack.enter_context(self._opened(self.segmenter_bundle))
                segmenter = self.segmenter.part(engine, self.segmenter_bundle, self.segmenter.options)
                models.append(_model("segmenter", self.segmenter_bundle, engine))
            yield classifiers, segmenter, tuple(models)

    @contextmanager
    def _opened(self, bundle: Bundle) -> Iterator[Engine]:
        """An engine with the bundle's model, its golden cells replayed."""
        part, options = self.engine.part, self.engine.options
        encoding = part.encoding_of(bundle, options)
        with part(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options) as engine:
            replay(bundle, engine, encoding)
            yield engine


def plan(settings: Settings) -> Plan:
    """Resolve parts, options and bundles. Raises SettingsError, BundleError. Opens no hardware and no socket."""
    bundles = open_bundles(settings.models, settings.trust)
    segmenter = choose("segmenter", segmenter_for(settings.segmenter, bundles))
    return Plan(
        settings=settings,
        source=choose("source", settings.source),
        segmenter=segmenter,
        engine=choose("engine", settings.engine),
        publisher=choose("publisher", settings.publisher),
        bundles=bundles,
        segmenter_bundle=_segmenter_bundle(segmenter, settings, bundles),
    )


def segmenter_for(asked: PartSettings, classifiers: Mapping[Kind, Bundle]) -> PartSettings:
    """The segmenter that was asked for; where none was, the one for the classifiers' specimen."""
    if asked.part != AUTO:
        return asked
    blood = all(bundle.manifest.specimen == "blood" for bundle in classifiers.values())
    return msgspec.structs.replace(asked, part="network" if blood else "stain")


def _segmenter_bundle(chosen: Chosen, settings: Settings, classifiers: Mapping[Kind, Bundle]) -> Bundle | None:
    """The bundle that a segmenter's options name as `model`, if they do. Raises BundleError, SettingsError."""
    name = getattr(chosen.options, "model", None)
    if name is None:
        return None
    bundle = open_bundle(bundle_folder(name, Path(settings.segmenter.base)), settings.trust)
    if bundle.manifest.task != "segment":
        raise SettingsError(
            f"{settings.segmenter.where}: bundle {name} is no segmenter's", fix='give a bundle of task "segment"'
        )
    _check_specimens({"segmenter": bundle, **classifiers})
    return bundle


def choose(role: str, chosen: PartSettings) -> Chosen:
    """The part that the settings name, with its options decoded. Raises SettingsError."""
    part = plugins.load(role, TABLES[role], chosen.part)
    return Chosen(name=chosen.part, part=part, options=decode_options(part, chosen))


def open_bundles(models: Mapping[Kind, str], trust: Trust) -> dict[Kind, Bundle]:
    """Kind of cell -> verified bundle. Raises BundleError; SettingsError for bundles of two specimens, or for a segmenter's."""
    bundles = {kind: open_bundle(name, trust) for kind, name in models.items()}
    for kind, bundle in bundles.items():
        if bundle.manifest.task != "classify":
            raise SettingsError(
                f"[models] {kind}: bundle {bundle.manifest.name} classifies nothing", fix="name it in [segmenter]"
            )
    _check_specimens(bundles)
    return bundles


def _check_specimens(bundles: Mapping[str, Bundle]) -> None:
    specimens = {bundle.manifest.specimen: kind for kind, bundle in bundles.items()}
    if len(specimens) > 1:
        named = ", ".join(f"{kind}: {specimen}" for specimen, kind in specimens.items())
        raise SettingsError(f"[models] mixes specimens ({named})", fix="use bundles of one specimen in one run")


def _model(kind: Kind, bundle: Bundle, engine: Engine) -> Model:
    manifest = bundle.manifest
    return Model(role=kind, name=manifest.name, version=manifest.version, sha256=bundle.sha256, engine=engine.description)
