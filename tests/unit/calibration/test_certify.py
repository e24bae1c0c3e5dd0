"""Limits that are held, and the certificate of what met them, on a bundle that is measured as it stands."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tiny_bundle import certified, make_tiny_bundle
from toy_cells import pbc_files, write_folder, write_split

from calibration import recipe as recipes
from calibration.certify import SIZE, Wanted, certify, hold, wanted
from calibration.commands import cli
from calibration.tested import measure
from edgecell.bundle import Bundle, open_bundle, sha256_of, write_manifest
from edgecell.certificate import Figure, Limit
from edgecell.errors import BundleError, BundleMismatch, EdgecellError, SettingsError

FIGURES = {
    "pbc.accuracy": Figure(value=0.9631, n=2442, low=0.9549, high=0.9702),
    "pbc.int8_drop": Figure(value=-0.25, n=2442),
    "pbc.macro_f1": Figure(value=None, n=12),
    SIZE: Figure(value=5.9),
}


def test_a_missed_limit_says_by_how_much() -> None:
    limits = [Wanted(figure="pbc.accuracy", bound="at least", limit=0.97)]
    with pytest.raises(BundleError) as caught:
        hold(limits, FIGURES, Path("mine"))
    said = "pbc.accuracy is 0.9631 (n 2442, 95 % 0.9549-0.9702), at least 0.97 is wanted: missed by 0.0069"
    assert caught.value.what == f"mine misses 1 of 1 limits: {said}"
    assert caught.value.exit_code == 4


def test_every_missed_limit_is_listed_and_none_that_is_met() -> None:
    limits = [
        Wanted(figure="pbc.int8_drop", bound="at most", limit=0.1),
        Wanted(figure="pbc.accuracy", bound="at least", limit=0.9632),
        Wanted(figure=SIZE, bound="at most", limit=5.5),
        Wanted(figure="pbc.macro_f1", bound="at least", limit=0.85),
        Wanted(figure="mll.accuracy", bound="at least", limit=0.5),
    ]
    with pytest.raises(BundleError) as caught:
        hold(limits, FIGURES, Path("mine"))
    head, *clauses = caught.value.what.split("; ")
    assert head.startswith("mine misses 4 of 5 limits: pbc.accuracy")
    assert head.endswith("missed by 0.0001")
    assert clauses == [
        "size_mb is 5.9, at most 5.5 is wanted: missed by 0.4",
        "pbc.macro_f1 was not measured, at least 0.85 is wanted",
        "mll.accuracy was not measured, at least 0.5 is wanted",
    ]


def test_a_limit_that_is_just_met_is_met() -> None:
    limits = [
        Wanted(figure="pbc.accuracy", bound="at least", limit=0.9631),
        Wanted(figure="pbc.int8_drop", bound="at most", limit=0.1),
    ]
    assert hold(limits, FIGURES, Path("mine")) == (
        Limit(figure="pbc.accuracy", bound="at least", limit=0.9631, value=0.9631, margin=0.0),
        Limit(figure="pbc.int8_drop", bound="at most", limit=0.1, value=-0.25, margin=0.35),
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    """As from before there were certificates."""
    made = make_tiny_bundle(tmp_path / "tiny")
    return write_manifest(made.path, made.manifest)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three neutrophils and three lymphocytes for the test, as many for validation."""
    folder = tmp_path_factory.mktemp("certify-data")
    files = pbc_files(18, ("neutrophil", "lymphocyte"))
    write_folder(files, folder / "pbc")
    write_split(list(files), folder / "toy.tsv")
    return folder


def recipe_file(bundle: Bundle, data: Path, acceptance: str = "", name: str = "tiny") -> Path:
    """A recipe that could have made the tiny bundle."""
    classes = "\n".join(
        f'[[classes]]\nname = "{each.name}"\nabbreviation = "{each.abbreviation}"\ngroup = "{each.group}"\n'
        f"in_differential = {str(each.in_differential).lower()}"
        for each in bundle.manifest.classes
    )
    path = bundle.path.parent / "tiny.toml"
    path.write_text(f"""
name = "{name}"
version = "1.0.0"
specimen = "blood"
data = [{{ dataset = "pbc", split = "{(data / "toy.tsv").as_posix()}" }}]
preprocess = {{ pixel_um = 0.5, crop_um = 16.0, size_px = 32, mean = [0.7, 0.6, 0.8], std = [0.2, 0.2, 0.2] }}
network = {{ part = "resnet_int8", widths = [16, 32], blocks = [1, 1] }}
training = {{ seed = 1, epochs = 1 }}
acceptance = {{ {acceptance} }}
{classes}
""")
    return path


def content(bundle: Bundle) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.path.iterdir()}


def test_a_bundle_is_measured_as_it_stands_and_nothing_else_changes(tiny: Bundle, data: Path) -> None:
    file = recipe_file(tiny, data, "accuracy_at_least = { pbc = 0.0 }, int8_drop_at_most = { pbc = 100.0 }")
    recipe, sha256 = recipes.load(file)
    before = content(tiny)
    made = certify(recipe, sha256, tiny, data)
    after = content(made)
    assert set(after) - set(before) == {"certificate.json"}
    assert {name for name in before if after[name] != before[name]} == {"manifest.json"}
    certificate = made.certificate
    assert certificate is not None
    (expected,) = measure(recipe, tiny.manifest.confidence, data, tiny.path, "test")
    assert certificate.figures["pbc.accuracy"].n == 6
    assert certificate.figures.items() >= expected.figures().items()
    size = certificate.figures[SIZE].value
    assert size == sum(len(raw) for name, raw in before.items() if name != "manifest.json") / 1e6
    assert [each.figure for each in certificate.limits] == ["pbc.accuracy", "pbc.int8_drop", SIZE]
    assert certificate.splits == {"toy.tsv": sha256_of(data / "toy.tsv")}
    assert certificate.recipe_sha256 == sha256_of(file)
    assert certificate.commit
    assert {"python", "numpy", "onnxruntime", "onnx"} <= set(certificate.libraries)


def test_a_certificate_made_twice_is_the_same(tiny: Bundle, data: Path) -> None:
    recipe, sha256 = recipes.load(recipe_file(tiny, data))
    once = content(certify(recipe, sha256, tiny, data))
    assert content(certify(recipe, sha256, open_bundle(tiny.path), data)) == once


def test_the_command_refuses_what_misses_a_limit_and_leaves_it_alone(tiny: Bundle, data: Path) -> None:
    recipe, _ = recipes.load(recipe_file(tiny, data))
    (found,) = measure(recipe, tiny.manifest.confidence, data, tiny.path, "test")
    value = found.int8.accuracy.value
    file = recipe_file(tiny, data, "accuracy_at_least = { pbc = 1.5 }")
    before = content(tiny)
    result = CliRunner().invoke(cli, ["certify", str(tiny.path), "--recipe", str(file), "--data", str(data)])
    assert isinstance(result.exception, BundleError)
    assert f"at least 1.5 is wanted: missed by {1.5 - value:.4g}" in str(result.exception)
    assert content(tiny) == before


def test_the_command_says_what_was_certified(tiny: Bundle, data: Path) -> None:
    file = recipe_file(tiny, data)
    result = CliRunner().invoke(cli, ["certify", str(tiny.path), "--recipe", str(file), "--data", str(data)])
    assert result.exit_code == 0, result.output
    assert "figures of the test split, 1 limit met, the closest size_mb" in result.stdout


def test_figures_that_the_manifest_contradicts_are_not_certified(tiny: Bundle, data: Path) -> None:
    recipe, sha256 = recipes.load(recipe_file(tiny, data))
    better = msgspec.structs.replace(tiny.manifest, metrics={"pbc.accuracy": 0.999})
    tiny = write_manifest(tiny.path, better)
    before = content(tiny)
    with pytest.raises(BundleMismatch, match=r"pbc\.accuracy is 0?\.?\d.* here, its manifest says 0\.999"):
        certify(recipe, sha256, tiny, data)
    assert content(tiny) == before


def test_a_recipe_of_another_bundle_is_refused(tiny: Bundle, data: Path) -> None:
    recipe, sha256 = recipes.load(recipe_file(tiny, data, name="other"))
    with pytest.raises(SettingsError, match="has another name than the recipe"):
        certify(recipe, sha256, tiny, data)


def test_limits_on_validation_cells_leave_the_test_figures_beside_them(tiny: Bundle, data: Path) -> None:
    recipe, sha256 = recipes.load(recipe_file(tiny, data, 'limits_on = "val", accuracy_at_least = { pbc = 0.0 }'))
    certificate = certify(recipe, sha256, tiny, data).certificate
    assert certificate is not None
    assert [each.figure for each in certificate.limits] == ["pbc.val.accuracy", SIZE]
    assert {"pbc.accuracy", "pbc.val.accuracy"} <= set(certificate.figures)


def test_every_limit_of_a_recipe_is_wanted(tiny: Bundle, data: Path) -> None:
    fields = [name for name in recipes.Acceptance.__struct_fields__ if name.endswith(("_at_least", "_at_most"))]
    recipe, _ = recipes.load(recipe_file(tiny, data, ", ".join(f"{name} = {{ pbc = 0.5 }}" for name in fields)))
    assert len(fields) == 6
    assert len(wanted(recipe)) == len(fields) + 1
    (found,) = measure(recipe, tiny.manifest.confidence, data, tiny.path, "test")
    known = {*found.figures(), SIZE, "pbc.macro_f1", "pbc.macro_f1_without_reject"}  # the last two need 50 cells of a class
    assert {each.figure for each in wanted(recipe)} <= known
    assert {each.bound for each in wanted(recipe)} == {"at least", "at most"}


def test_a_limit_on_a_dataset_that_the_recipe_does_not_read_is_found_before_anything_is_trained(
    tiny: Bundle, data: Path
) -> None:
    with pytest.raises(EdgecellError, match=r"acceptance\.accuracy_at_least names bmc.*Fix: name a dataset of the recipe: pbc"):
        recipes.load(recipe_file(tiny, data, "accuracy_at_least = { bmc = 0.9 }"))


def test_certifying_again_takes_the_place_of_the_old_certificate(tiny: Bundle, data: Path) -> None:
    old = certified(tiny.path, tiny.manifest)
    recipe, sha256 = recipes.load(recipe_file(tiny, data))
    made = certify(recipe, sha256, old, data)
    assert made.certificate is not None
    assert "tiny.accuracy" not in made.certificate.figures
