"""The composition root: names become parts, and what does not fit together is refused before anything is opened."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tiny_bundle import certified, make_tiny_bundle, tiny_crops

from edgecell import app, plugins
from edgecell.bundle import Bundle, Specimen
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.errors import BundleCorrupt, BundleError, BundleMismatch, PublishError, SettingsError, SourceUnavailable
from edgecell.golden import GOLDEN
from edgecell.messages import FrameReport
from edgecell.protocols import Progress
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.routing import open_bundles
from edgecell.segmenters.stain import StainSegmenter
from edgecell.settings import PartSettings, Settings
from edgecell.signature import ANY
from edgecell.sources.images import ImagesSource
from edgecell.sources.phantom import PhantomSource
from edgecell.wire import CountsMessage, Message


class Onlooker:
    """A stand-in display that keeps what was sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None: ...

    def sent(self, message: Message) -> None:
        self.messages.append(message)


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def settings(tiny: Bundle, **changes: object) -> Settings:
    small = PartSettings(part="phantom", options={"width": 320, "height": 240, "frames": 2})
    chosen = Settings(
        models={"nucleated": str(tiny.path)},
        source=small,
        segmenter=PartSettings(part="stain"),
        publisher=PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"}),
    )
    return msgspec.structs.replace(chosen, **changes)


def of_specimen(folder: Path, specimen: Specimen) -> str:
    bundle = make_tiny_bundle(folder)
    certified(bundle.path, msgspec.structs.replace(bundle.manifest, specimen=specimen))
    return str(folder)


@pytest.mark.parametrize(
    ("role", "name", "part"),
    [
        ("source", "phantom", PhantomSource),
        ("source", "images", ImagesSource),
        ("segmenter", "stain", StainSegmenter),
        ("engine", "onnxrt", OnnxRuntimeEngine),
        ("publisher", "zmq", ZmqPublisher),
    ],
)
def test_names_become_parts(role: str, name: str, part: type[object]) -> None:
    options = {"path": "fields"} if name == "images" else {}
    chosen = app.choose(role, PartSettings(part=name, options=options))
    assert (chosen.name, chosen.part) == (name, part)
    assert type(chosen.options).__name__.endswith("Options")


def test_every_name_of_every_table_is_a_part() -> None:
    for role, table in app.TABLES.items():
        for name in table:
            part = plugins.load(role, table, name)
            assert callable(part.probe)
            assert issubclass(part.Options, msgspec.Struct)


@pytest.mark.parametrize("role", ["source", "segmenter", "engine", "publisher"])
def test_an_unknown_part_names_those_there_are(role: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown {role} 'none'") as caught:
        app.choose(role, PartSettings(part="none"))
    for name in app.TABLES[role]:
        assert name in caught.value.fix


def test_an_unknown_option_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="unknown key colour") as caught:
        app.choose("source", PartSettings(part="phantom", options={"colour": "red"}))
    assert "seed" in caught.value.fix


def test_specimens_are_never_mixed(tmp_path: Path) -> None:
    blood, marrow = of_specimen(tmp_path / "blood", "blood"), of_specimen(tmp_path / "marrow", "marrow")
    with pytest.raises(SettingsError, match=r"mixes specimens \(nucleated: blood, red_blood_cell: marrow\)"):
        open_bundles({"nucleated": blood, "red_blood_cell": marrow}, ANY)
    assert set(open_bundles({"nucleated": blood, "red_blood_cell": blood}, ANY)) == {"nucleated", "red_blood_cell"}


def test_a_plan_opens_nothing(tiny: Bundle, tmp_path: Path) -> None:
    """A source that is not there and a bus that cannot be made are found when they are opened, not before."""
    nowhere = PartSettings(part="images", options={"path": str(tmp_path / "nowhere")})
    bus = PartSettings(part="zmq", options={"endpoint": "ipc:///no-such-folder/bus"})
    plan = app.plan(settings(tiny, source=nowhere))
    onlooker = Onlooker()
    with plan.runtime(onlooker) as runtime, pytest.raises(SourceUnavailable, match="nowhere"):
        runtime.run()
    assert onlooker.messages == []
    plan = app.plan(settings(tiny, publisher=bus))
    with pytest.raises(PublishError), plan.runtime(Onlooker()):
        pass


def test_a_corrupt_or_unknown_bundle_is_found_by_the_plan(tiny: Bundle) -> None:
    with pytest.raises(BundleError, match="no bundle 'none'"):
        app.plan(settings(tiny, models={"nucleated": "none"}))
    (tiny.path / GOLDEN).write_bytes(b"")
    with pytest.raises(BundleCorrupt, match="not the file"):
        app.plan(settings(tiny))


def test_classes_are_those_of_all_bundles(tiny: Bundle) -> None:
    plan = app.plan(settings(tiny))
    assert list(plan.classes) == ["neutrophil", "lymphocyte", "artefact"]
    assert plan.classes["artefact"].group == "reject"


def test_a_recogniser_is_open_and_says_what_it_is_made_of(tiny: Bundle) -> None:
    with app.plan(settings(tiny)).recogniser() as recogniser:
        (model,) = recogniser.models
        assert (model.role, model.name, model.sha256) == ("nucleated", "tiny", tiny.sha256)
        assert "onnxruntime" in model.engine
        rows = recogniser.classifiers["nucleated"].probabilities(tiny_crops(3))
        assert rows.shape == (3, 3)


def test_answers_that_are_not_the_certified_ones_never_count(tiny: Bundle) -> None:
    """Every file is intact, but cells are prepared in another way than when the bundle was certified."""
    other = msgspec.structs.replace(tiny.manifest.preprocess, mean=(0.1, 0.9, 0.2), colour="rgb")
    certified(tiny.path, msgspec.structs.replace(tiny.manifest, preprocess=other))
    plan = app.plan(settings(tiny))
    with pytest.raises(BundleMismatch), plan.recogniser():
        pass


def test_a_runtime_carries_the_identity_of_its_settings(tiny: Bundle) -> None:
    onlooker = Onlooker()
    plan = app.plan(settings(tiny, device_id="bench-3", sample_id="slide-17"))
    runs = set()
    for _ in range(2):
        with plan.runtime(onlooker) as runtime:
            last = runtime.run().counts
        assert (last.device_id, last.sample_id, last.frames.captured) == ("bench-3", "slide-17", 2)
        assert [model.name for model in last.models] == ["tiny"]
        runs.add(last.run_id)
    assert len(runs) == 2
    assert any(isinstance(message, CountsMessage) for message in onlooker.messages)


@pytest.mark.parametrize(("specimen", "part"), [("blood", "network"), ("marrow", "stain"), ("balf", "stain")])
def test_the_default_segmenter_suits_the_specimen(tmp_path: Path, specimen: Specimen, part: str) -> None:
    models = {"nucleated": of_specimen(tmp_path / specimen, specimen)}
    assert app.plan(Settings(models=models)).segmenter.name == part
    asked = Settings(models=models, segmenter=PartSettings(part="stain"))
    assert app.plan(asked).segmenter.name == "stain"
