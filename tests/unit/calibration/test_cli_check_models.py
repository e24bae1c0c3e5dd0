"""`python -m calibration check` on bundles and files."""

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper
from tiny_bundle import make_tiny_bundle

from calibration.commands import cli
from edgecell.errors import BundleError


def check(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("check") / "tiny").path


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    """An s8s8 model with one zero point of 3."""
    model = onnx.load(folder / "s8s8.onnx")
    zero = next(each for each in model.graph.initializer if each.name == "relu1.out_zero_point")
    zero.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(zero) + 3, zero.name))
    onnx.save(model, tmp_path / "broken.onnx")
    return tmp_path / "broken.onnx"


def test_a_clean_bundle(folder: Path) -> None:
    ended = check(folder)
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines() == [f"{folder}/s8s8.onnx (s8s8): ok", f"{folder}/u8s8.onnx (u8s8): ok"]


def test_a_broken_file_is_named_and_ends_with_one(broken: Path) -> None:
    ended = check(broken)
    assert ended.exit_code == 1
    assert f"{broken} (s8s8): 2 violations" in ended.output
    assert "relu1.out_QuantizeLinear: zero point is not 0 (rule s8s8 1)" in ended.output


def test_json_of_several(folder: Path, broken: Path) -> None:
    ended = check(folder, broken, "--json")
    assert ended.exit_code == 1
    files = json.loads(ended.output)["files"]
    assert [(each["encoding"], len(each["violations"])) for each in files] == [("s8s8", 0), ("u8s8", 0), ("s8s8", 2)]
    assert files[2]["violations"][0] == {
        "rule": "s8s8 1",
        "node": "relu1.out_QuantizeLinear",
        "text": "zero point is not 0",
    }


def test_a_float_model_is_not_quantized_anywhere(folder: Path) -> None:
    ended = check(folder / "float.onnx")
    assert ended.exit_code == 1
    assert "conv2: is not quantized (rule s8s8 4)" in ended.output
    kept = [part for name in ("conv2", "conv4", "conv7", "conv9", "conv10") for part in ("--keep", name)]
    assert "is not quantized" not in check(folder / "float.onnx", *kept).output


def test_the_reference_gives_the_share_of_every_layer(folder: Path) -> None:
    ended = check(folder, "--reference", "--json")
    assert ended.exit_code == 0, ended.output
    layers = json.loads(ended.output)["layers"]
    assert [each["op"] for each in layers] == ["Relu", "Conv", "Conv", "Add", "Conv", "Conv", "Conv", "Add"]
    assert all(each["worst"] <= 1 and each["share"] < 1e-3 and each["values"] > 1000 for each in layers)
    assert "one step beside" in check(folder, "--reference").output


def test_what_is_no_model_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x08\x12\x04")
    for what in (tmp_path / "cut.onnx", tmp_path / "nothing"):
        assert isinstance(check(what).exception, BundleError)


def test_the_reference_computes_a_segmenter_s_golden_fields_too() -> None:
    """Which are fields of any size, not crops."""
    ended = check("cells3", "--reference", "--json")
    assert ended.exit_code == 0, ended.output
    layers = json.loads(ended.stdout)["layers"]
    assert len(layers) > 10
    assert max(layer["worst"] for layer in layers) <= 1
