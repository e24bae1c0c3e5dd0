"""`edgecell adapt` from a labelled folder to a bundle that opens, on the tiny bundle."""

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import certified, make_tiny_bundle, tiny_crops

from edgecell.adapt.layer import Layer, Statistics, read_statistics, write_statistics
from edgecell.adapt.onnxfile import read_layer, write_layer
from edgecell.bundle import Bundle, Encoding, open_bundle
from edgecell.certificate import Origin
from edgecell.cli.adapt import command
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import BundleCorrupt, BundleError, EdgecellError, MissingDependency, SettingsError
from edgecell.golden import replay
from edgecell.optics.scale import Scale
from edgecell.preprocess import to_batch
from edgecell.signature import Trust

COUNT = 30


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Discs labelled by their colour, which the random network does not know."""
    folder = tmp_path / "mycells"
    for number, crop in enumerate(tiny_crops(COUNT, seed=8)):
        red, _, blue = crop[16, 16]
        save(folder / ("neutrophil" if red > blue else "LYM") / f"cell{number}.png", crop)
    return folder


def save(path: Path, crop: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), crop[:, :, ::-1])


def adapted(bundle: Bundle, labelled: Path, *options: str) -> Result:
    out = labelled.parent / "mine"
    return CliRunner().invoke(command, [str(labelled), "--bundle", str(bundle.path), "-o", str(out), *options])


def outputs(folder: Path, encoding: Encoding, crops: np.ndarray, made: Bundle) -> Mapping[str, np.ndarray]:
    options = OnnxRuntimeOptions(optimise=encoding != "s8s8")
    with OnnxRuntimeEngine(folder / f"{encoding}.onnx", manifest=made.manifest, options=options) as engine:
        if encoding != "fp16":
            replay(made, engine, encoding)
        return engine.infer(to_batch(crops, made.manifest.preprocess))


def with_statistics(bundle: Bundle) -> Bundle:
    crops = tiny_crops(40, seed=2)
    features = outputs(bundle.path, "u8s8", crops, bundle)["features"].astype(np.float64)
    means = np.stack([features[number::3].mean(axis=0) for number in range(3)])
    spread = Statistics(means=means, covariance=np.cov(features.T), counts=np.array([14, 13, 13]))
    write_statistics(bundle.path / "features.npz", spread)
    return certified(bundle.path, bundle.manifest)


def test_the_new_bundle_opens_and_every_encoding_passes_its_golden_cells(
    bundle: Bundle, labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = adapted(bundle, labelled, "--pixel-um", "0.5")
    assert result.exit_code == 0, result.output
    made = open_bundle(labelled.parent / "mine")
    layers = [read_layer(made.file(f"{name}.onnx")) for name in ("float", "s8s8", "u8s8")]
    assert all(np.allclose(each.weight, layers[0].weight) for each in layers)
    assert not np.allclose(layers[0].weight, read_layer(bundle.file("float.onnx")).weight)
    encodings: tuple[Encoding, ...] = ("float", "s8s8", "u8s8")
    for name in encodings:
        new, old = (outputs(each.path, name, tiny_crops(8), each) for each in (made, bundle))
        assert np.allclose(new["features"], old["features"], atol=1e-5)
        assert not np.allclose(new["logits"], old["logits"], atol=0.1)
    assert "each held out once" in result.stdout
    assert "no features.npz" in caplog.text


def test_manifest_and_card_say_what_was_done(bundle: Bundle, labelled: Path) -> None:
    adapted(bundle, labelled, "--pixel-um", "0.4")
    made = open_bundle(labelled.parent / "mine")
    manifest = made.manifest
    assert manifest.version.startswith("1.0.0+adapted.")
    assert manifest.preprocess.pixel_um == 0.4
    assert manifest.provenance.datasets[-1].name == "mycells"
    assert manifest.metrics["adaptation.cells"] == COUNT
    assert manifest.metrics["before_adaptation.accuracy"] == 0.5
    card = (made.path / "CARD.md").read_text()
    assert card.startswith(f"# tiny {manifest.version}\n")
    assert card.index("every cell held out once") < card.index("does not hold for this bundle") < card.index("Random weights")
    assert str(labelled) not in card


def test_its_certificate_claims_nothing_of_the_old_one_s_figures(bundle: Bundle, labelled: Path) -> None:
    adapted(bundle, labelled, "--pixel-um", "0.5")
    made = open_bundle(labelled.parent / "mine", Trust(require="certificate"))
    certificate = made.certificate
    assert certificate is not None
    assert certificate.adapted_from == Origin(name="tiny", version="1.0.0", sha256=bundle.sha256)
    assert (certificate.limits, certificate.splits, certificate.recipe_sha256) == ((), {}, None)
    assert "held out once" in certificate.measured_on
    assert all(name.startswith("adaptation.") for name in certificate.figures)
    accuracy = certificate.figures["adaptation.accuracy"]
    assert (accuracy.value, accuracy.n) == (made.manifest.metrics["adaptation.accuracy"], COUNT)
    assert accuracy.low == made.manifest.metrics["adaptation.accuracy_low"]
    assert "adapted from tiny 1.0.0" in made.proof
    assert "no test split" in made.proof


def test_json_is_one_object_with_intervals_and_warnings(bundle: Bundle, labelled: Path) -> None:
    found = json.loads(adapted(bundle, labelled, "--json").stdout)
    assert found["schema"] == "adaptation/1"
    assert found["cells"] == COUNT
    assert found["held_out"]["after"]["accuracy"]["n"] == COUNT
    low, high = found["held_out"]["before"]["wrong"]["interval"]
    assert 0 <= low <= high <= 1
    assert set(found["held_out"]["classes"]) == {"neutrophil", "lymphocyte"}
    assert found["confidence"]["before"] == {"temperature": 1.5, "unsure_below": 0.6, "foreign_below": 0.0}
    assert found["absent_classes"] == []  # a reject class needs no cells
    assert "research use only" in found["notice"]


def test_statistics_are_used_and_follow_the_microscope(
    bundle: Bundle, labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapted(with_statistics(bundle), labelled)
    assert "features.npz" not in caplog.text
    before, after = (read_statistics(open_bundle(each)) for each in (bundle.path, labelled.parent / "mine"))
    assert before is not None
    assert after is not None
    assert after.counts.sum() == before.counts.sum() + COUNT
    assert not np.allclose(after.means, before.means)


def test_the_same_cells_give_the_same_bundle_and_an_adapted_one_can_be_adapted(bundle: Bundle, labelled: Path) -> None:
    shas = []
    for _ in range(2):
        assert adapted(bundle, labelled).exit_code == 0
        shas.append(open_bundle(labelled.parent / "mine").manifest.files)
        shutil.rmtree(labelled.parent / "second", ignore_errors=True)
        (labelled.parent / "mine").rename(labelled.parent / "second")
    assert shas[0] == shas[1]
    assert adapted(open_bundle(labelled.parent / "second"), labelled).exit_code == 0
    again = open_bundle(labelled.parent / "mine").manifest
    assert again.version.count("+adapted.") == 1
    assert again.metrics["before_adaptation.accuracy"] == 0.5


def test_labels_that_mean_nothing_are_not_called_better(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, crop in enumerate(tiny_crops(20, seed=4)):
        save(tmp_path / "noise" / ("neutrophil", "lymphocyte")[number % 2] / f"{number}.png", crop)
    result = adapted(bundle, tmp_path / "noise")
    assert result.exit_code == 0, result.output
    assert "NOT BETTER" in caplog.text
    assert "20 cells are few" in caplog.text
    assert "NOT better" in (tmp_path / "mine" / "CARD.md").read_text()


def test_images_that_cannot_be_read_and_copies_are_left_out(bundle: Bundle, labelled: Path) -> None:
    (labelled / "LYM" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first = min((labelled / "LYM").glob("cell*.png"))
    shutil.copy(first, labelled / "LYM" / "again.png")
    found = json.loads(adapted(bundle, labelled, "--json").stdout)
    assert found["cells"] == COUNT
    assert [Path(each).name for each in found["unreadable"]] == ["torn.png"]
    assert len(found["copies"]) == 1


def test_without_a_scale_the_labels_choose_between_the_bundle_and_the_red_cells(
    bundle: Bundle, labelled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The crops are what the bundle sees at its own scale; at a tenth of it they are one spot of colour."""
    monkeypatch.setattr("edgecell.cli.adapt.scale_of", lambda *_: Scale(0.05, "estimated"))
    caplog.set_level("INFO")
    found = json.loads(adapted(bundle, own_labels(bundle, labelled), "--json").stdout)
    assert found["pixel_um"] == 0.5
    assert "better at 0.5" in caplog.text


def own_labels(bundle: Bundle, folder: Path) -> Path:
    """The cells sorted again by what the bundle takes them for."""
    crops = tiny_crops(COUNT, seed=8)
    top = outputs(bundle.path, "u8s8", crops, bundle)["logits"].argmax(axis=1)
    shutil.rmtree(folder)
    for number, (crop, label) in enumerate(zip(crops, top, strict=True)):
        save(folder / bundle.class_names[label] / f"cell{number}.png", crop)
    return folder


def remove(folder: Path, keep: int) -> None:
    for path in sorted(folder.rglob("*.png"))[keep:]:
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "LYM").rename(folder / "lymphocite"), "did you mean lymphocyte"),
        (lambda folder: (folder / "LYM").rename(folder / "blast"), "neutrophil (NEU), lymphocyte (LYM)"),
        (lambda folder: remove(folder, 9), "label 10 or better 100"),
        (lambda folder: shutil.rmtree(folder / "LYM"), "one class only"),
        (lambda folder: shutil.copy(next((folder / "LYM").iterdir()), folder / "neutrophil"), "also in the folder of"),
        (lambda folder: shutil.copy(next((folder / "LYM").iterdir()), folder), "is in no class folder"),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: (folder.parent / "mine" / "old").mkdir(parents=True), "not empty"),
    ],
)
def test_what_cannot_be_adapted_to_is_refused_with_a_fix(bundle: Bundle, labelled: Path, spoil: object, message: str) -> None:
    if message == "one class only":
        for number, crop in enumerate(tiny_crops(12, seed=21)):
            save(labelled / "neutrophil" / f"more{number}.png", crop)
    assert callable(spoil)
    spoil(labelled)
    error = adapted(bundle, labelled).exception
    assert isinstance(error, SettingsError)
    assert message in str(error)
    assert error.fix
    assert not (labelled.parent / "mine" / "manifest.json").exists()


def test_without_onnx_it_says_how_to_get_it(bundle: Bundle, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    error = adapted(bundle, labelled).exception
    assert isinstance(error, MissingDependency)
    assert error.exit_code == 3
    assert "pip install 'edgecell[adapt]'" in error.fix


def test_half_precision_files_get_half_precision_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((4, 3)), rng.standard_normal(3)
    constants = [numpy_helper.from_array(each.astype(np.float16), name) for name, each in (("w", weight), ("b", bias))]
    nodes = [
        helper.make_node("Cast", ["features"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Gemm", ["half", "w", "b"], ["answer"]),
        helper.make_node("Cast", ["answer"], ["logits"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n]) for name, n in (("features", 4), ("logits", 3))]
    graph = helper.make_graph(nodes, "half", [ends[0]], [ends[1]], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "fp16.onnx")
    old = read_layer(tmp_path / "fp16.onnx")
    assert old.weight.shape == (3, 4)
    write_layer(tmp_path / "fp16.onnx", Layer(weight=old.weight * 2, bias=old.bias + 1), tmp_path / "new.onnx")
    new = read_layer(tmp_path / "new.onnx")
    assert np.array_equal(new.weight, old.weight * 2)
    assert {each.data_type for each in onnx.load(tmp_path / "new.onnx").graph.initializer} == {TensorProto.FLOAT16}


def test_a_model_that_does_not_end_in_a_linear_layer_is_refused(tmp_path: Path) -> None:
    end = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])
    start = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["features"], ["logits"])], "none", [start], [end])
    onnx.save(helper.make_model(graph), tmp_path / "odd.onnx")
    with pytest.raises(BundleError, match="no last linear layer"):
        read_layer(tmp_path / "odd.onnx")


def test_a_bundle_without_features_is_refused(bundle: Bundle, labelled: Path) -> None:
    only_logits = msgspec.structs.replace(bundle.manifest, outputs=bundle.manifest.outputs[:1])
    error = adapted(certified(bundle.path, only_logits), labelled).exception
    assert isinstance(error, BundleError)
    assert "no output 'features'" in str(error)


def test_statistics_that_do_not_fit_are_refused(bundle: Bundle, labelled: Path) -> None:
    write_statistics(
        bundle.path / "features.npz", Statistics(means=np.ones((2, 4)), covariance=np.eye(4), counts=np.ones(2, int))
    )
    error: BaseException | None = adapted(certified(bundle.path, bundle.manifest), labelled).exception
    assert isinstance(error, BundleCorrupt)
    (bundle.path / "features.npz").write_bytes(b"torn")
    error = adapted(certified(bundle.path, bundle.manifest), labelled).exception
    assert isinstance(error, EdgecellError)
    assert "copy the bundle again" in str(error)
