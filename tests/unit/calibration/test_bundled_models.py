"""The bundles that ship in the wheel: their encodings, golden cells, size, card and origin."""

from pathlib import Path

import pytest

from calibration import recipe, split
from calibration.card import SPLIT_NOTE
from calibration.certify import wanted
from calibration.quantize import optimised_float_convs
from calibration.spots import recipe as spots
from edgecell.bundle import SHIPPED, Bundle, Encoding, open_bundle, sha256_of, shipped
from edgecell.certificate import Certificate
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.golden import replay
from edgecell.messages import NOTICE
from edgecell.signature import SIGNATURE, Trust

ROOT = Path(recipe.__file__).parents[1]
NAMES = shipped()
pytestmark = pytest.mark.skipif(not NAMES, reason=f"no bundle in {SHIPPED.name}/ yet")


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(str(request.param))


@pytest.fixture
def classifier(bundle: Bundle) -> Bundle:
    if bundle.manifest.task != "classify":
        pytest.skip("not a classifier")
    return bundle


@pytest.fixture
def segmenter(bundle: Bundle) -> Bundle:
    if bundle.manifest.task != "segment":
        pytest.skip("not a segmenter")
    return bundle


@pytest.mark.parametrize("encoding", ["float", "u8s8", "s8s8"])
def test_golden_cells_replay(bundle: Bundle, encoding: Encoding) -> None:
    """`s8s8` is meant for TensorRT: ONNX Runtime computes it as written only with its optimisations off."""
    options = OnnxRuntimeOptions(optimise=encoding != "s8s8")
    with OnnxRuntimeEngine(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options) as engine:
        report = replay(bundle, engine, encoding)
    assert report.cells >= (16 if bundle.manifest.task == "classify" else 3)
    assert set(report.deviation) == {each.name for each in bundle.manifest.outputs}


def test_every_layer_that_the_manifest_calls_float_is_float(bundle: Bundle) -> None:
    """That there are no others is tested beside `quantize`."""
    kept, left = set(bundle.manifest.quantization.kept_float), set(optimised_float_convs(bundle.file("u8s8.onnx")))
    linear = 1 if bundle.manifest.task == "classify" else 0
    assert len(kept - left) == linear, "all but a classifier's final linear layer are convolutions"


def test_it_is_small_enough_to_ship(bundle: Bundle) -> None:
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) <= 10_000_000


def test_it_holds_nothing_that_the_manifest_does_not_list(bundle: Bundle) -> None:
    held = {path.name for path in bundle.path.iterdir()} - {SIGNATURE}
    assert held == {*bundle.manifest.files, "manifest.json"}
    assert held >= {"CARD.md", "float.onnx", "fp16.onnx", "s8s8.onnx", "u8s8.onnx", "golden.npz"}


def test_its_card_warns_and_says_how_cells_were_split(classifier: Bundle) -> None:
    card = classifier.file("CARD.md").read_text()
    assert NOTICE in card
    assert SPLIT_NOTE in card
    assert all(name in card for name in classifier.class_names)


def test_it_comes_from_a_committed_recipe(classifier: Bundle) -> None:
    """Change a recipe and its bundle must be built again."""
    path = ROOT / "calibration" / "recipes" / f"{classifier.manifest.name}.toml"
    cooked, sha256 = recipe.load(path)
    origin = classifier.manifest.provenance
    assert origin.recipe_sha256 == sha256 == sha256_of(path)
    assert origin.seed == cooked.training.seed
    assert [each.name for each in origin.datasets] == [each.dataset for each in cooked.data]
    assert (classifier.manifest.classes, classifier.manifest.preprocess) == (cooked.classes, cooked.preprocess)
    assert all((ROOT / file).is_file() for file in origin.split.split(", "))


def test_its_figures_are_there(classifier: Bundle) -> None:
    cooked, _ = recipe.load(ROOT / "calibration" / "recipes" / f"{classifier.manifest.name}.toml")
    metrics, first = classifier.manifest.metrics, cooked.data[0].dataset
    for name in ("cells", "accuracy", "accuracy_low", "accuracy_high", "accuracy_fp32", "agreement_u8s8_s8s8"):
        assert isinstance(metrics[f"{first}.{name}"], float)


def certificate_of(bundle: Bundle) -> Certificate:
    """Of a classifier: a segmenter has a recipe of its own kind, and other figures."""
    if bundle.manifest.task != "classify":
        pytest.skip("not a classifier")
    if bundle.certificate is None and Trust().require == "nothing":
        pytest.skip("built before there were certificates, and nobody asks for one by default")
    assert bundle.certificate is not None
    return bundle.certificate


def test_it_is_certified_by_its_recipe_and_splits_as_committed(bundle: Bundle) -> None:
    """And met every limit that the recipe sets."""
    certificate = certificate_of(bundle)
    cooked, sha256 = recipe.load(ROOT / "calibration" / "recipes" / f"{bundle.manifest.name}.toml")
    assert certificate.recipe_sha256 == sha256
    assert certificate.splits == {each.split: sha256_of(split.FOLDER / each.split) for each in cooked.data}
    assert [(each.figure, each.bound, each.limit) for each in certificate.limits] == [
        (each.figure, each.bound, each.limit) for each in wanted(cooked)
    ]


def test_the_card_says_what_was_certified(bundle: Bundle) -> None:
    certificate = certificate_of(bundle)
    card = bundle.file("CARD.md").read_text()
    accuracies = [each for name, each in certificate.figures.items() if name.endswith(".accuracy")]
    assert accuracies
    for each in accuracies:
        assert each.value is not None
        assert f"{100 * each.value:.2f} % ({round(each.value * (each.n or 0))}/{each.n}, 95 %" in card


def test_a_segmenter_comes_from_a_committed_recipe_and_met_its_limits(segmenter: Bundle) -> None:
    path = ROOT / "calibration" / "recipes" / "segment" / f"{segmenter.manifest.name}.toml"
    cooked, sha256 = spots.load(path)
    assert segmenter.manifest.provenance.recipe_sha256 == sha256 == sha256_of(path)
    assert (segmenter.manifest.classes, segmenter.manifest.preprocess) == (cooked.classes, cooked.preprocess)
    assert segmenter.certificate is not None
    limits = {each.figure: each.limit for each in segmenter.certificate.limits}
    for kind, limit in cooked.acceptance.f1_at_least.items():
        assert limits[f"{cooked.data.name}.held.{kind}.f1"] == limit


def test_a_segmenter_s_card_warns(segmenter: Bundle) -> None:
    card = segmenter.file("CARD.md").read_text()
    assert NOTICE in card
    assert all(name in card for name in segmenter.class_names)
