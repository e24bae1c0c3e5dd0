"""A toy recipe from a generated dataset to a bundle that opens and counts, as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from toy_cells import pbc_files, toy_recipe, write_folder, write_split

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import checkpoint, golden_cells, recipe  # noqa: E402
from calibration.metrics import Share  # noqa: E402
from calibration.rules import violations  # noqa: E402
from edgecell.bundle import MANIFEST, Bundle, Encoding, open_bundle, sha256_of  # noqa: E402
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions  # noqa: E402
from edgecell.errors import BundleError, SettingsError  # noqa: E402
from edgecell.golden import replay  # noqa: E402
from edgecell.messages import NOTICE  # noqa: E402


def build(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`python -m calibration build`, one thread for torch: on a busy machine a second one only waits."""
    command = [sys.executable, "-m", "calibration", "build", str(folder / "toy.toml"), "--data", str(folder)]
    places = ["--work", str(folder / "work"), "--out", str(folder / "bundle")]
    root = Path(recipe.__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *places, *more], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundling")
    files = pbc_files(24)
    write_folder(files, path / "pbc")
    toy_recipe(path / "toy.toml", write_split(list(files), path / "toy.tsv"), epochs=6)
    return path


@pytest.fixture(scope="module")
def made(folder: Path) -> Bundle:
    result = build(folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(folder / "bundle")
    assert "epoch 6/6" in result.stderr
    assert (folder / "work" / "toy.curves.png").is_file()
    assert not (folder / "work" / "toy.checkpoint.pt").exists(), "a bundled training is done with"
    return open_bundle(folder / "bundle")


def test_the_bundle_is_whole(made: Bundle, folder: Path) -> None:
    manifest = made.manifest
    assert set(manifest.files) >= {"CARD.md", "float.onnx", "fp16.onnx", "s8s8.onnx", "u8s8.onnx", "golden.npz"}
    assert set(manifest.files) == {path.name for path in made.path.iterdir()} - {MANIFEST}
    assert (manifest.name, made.class_names) == ("toy", ("neutrophil", "lymphocyte", "platelet"))
    assert manifest.provenance.recipe_sha256 == sha256_of(folder / "toy.toml")
    assert manifest.provenance.commit != ""
    quantization = manifest.quantization
    assert (quantization.calibration_cells, quantization.compared_cells) == (24, 24)
    assert [trial.method for trial in quantization.compared] == list(recipe.Int8().methods)
    best = min(quantization.compared, key=lambda trial: sum(trial.error.values()))
    assert quantization.method == f"static Q/DQ, {best.method}, per channel"
    assert set(quantization.drop) == {"u8s8", "s8s8"}
    assert NOTICE in made.file("CARD.md").read_text()
    assert 0 < manifest.confidence.unsure_below <= 1


def test_discs_of_three_colours_are_told_apart(made: Bundle) -> None:
    metrics = made.manifest.metrics
    cells, accuracy = metrics["pbc.cells"], metrics["pbc.accuracy"]
    assert cells == 12
    assert isinstance(accuracy, float)
    assert accuracy >= 0.9
    low, high = Share(count=round(accuracy * 12), n=12).interval
    assert metrics["pbc.accuracy_low"] == pytest.approx(low)
    assert metrics["pbc.accuracy_high"] == pytest.approx(high)
    assert isinstance(metrics["pbc.accuracy_fp32"], float)


@pytest.mark.parametrize("encoding", ["float", "u8s8", "s8s8"])
def test_its_golden_cells_replay(made: Bundle, encoding: Encoding) -> None:
    options = OnnxRuntimeOptions(optimise=encoding != "s8s8")
    with OnnxRuntimeEngine(made.file(f"{encoding}.onnx"), manifest=made.manifest, options=options) as engine:
        assert replay(made, engine, encoding).cells >= 3


def test_its_int8_model_is_what_tensorrt_accepts(made: Bundle) -> None:
    assert violations(made.file("s8s8.onnx"), made.manifest.quantization.kept_float) == []


def test_half_precision_is_inside_and_float_outside(made: Bundle) -> None:
    half = onnx.load(made.file("fp16.onnx"))
    outside = [*half.graph.input, *half.graph.output]
    assert {each.type.tensor_type.elem_type for each in outside} == {onnx.TensorProto.FLOAT}
    weights = [each for each in half.graph.initializer if len(each.dims) == 4]
    assert weights
    assert {each.data_type for each in weights} == {onnx.TensorProto.FLOAT16}
    assert made.file("fp16.onnx").stat().st_size < 0.7 * made.file("float.onnx").stat().st_size


def test_a_bundle_that_is_too_large_is_refused_and_no_old_one_is_left(made: Bundle, folder: Path) -> None:
    """From the same weights, so nothing is trained; the checkpoint of a run is what it bundles."""
    before = made.file("float.onnx").read_bytes()
    toy_recipe(folder / "toy.toml", folder / "toy.tsv", epochs=6, max_size_mb=0.01)
    try:
        result = build(folder, "--weights", str(folder / "work" / "toy.pt"))
        assert result.returncode == BundleError.exit_code, result.stderr
        assert re.search(r"size_mb is (0\.\d+), at most 0\.01 is wanted: missed by 0\.\d+", result.stderr)
        assert "Traceback" not in result.stderr
        assert "epoch" not in result.stderr
        assert (folder / "bundle" / "float.onnx").read_bytes() == before
        assert not (folder / "bundle" / MANIFEST).exists()
        with pytest.raises(BundleError):
            open_bundle(folder / "bundle")
    finally:
        toy_recipe(folder / "toy.toml", folder / "toy.tsv", epochs=6)


def test_an_unfinished_training_of_another_recipe_is_not_gone_on_with(folder: Path) -> None:
    left = folder / "work" / "toy.checkpoint.pt"
    left.parent.mkdir(exist_ok=True)
    checkpoint.save(left, {"[classes]": "0" * 64}, {"step": 3})
    try:
        result = build(folder)
        assert result.returncode == SettingsError.exit_code, result.stderr
        assert f"{left} is an unfinished training with another [classes] (000000000000... there" in result.stderr
        assert "--fresh" in result.stderr
        assert "Traceback" not in result.stderr
    finally:
        left.unlink()


def test_golden_cells_are_of_every_kind(made: Bundle) -> None:
    spec = msgspec.structs.replace(made.manifest.preprocess, size_px=16)
    crops = golden_cells.draw(spec, each=1)
    assert crops.shape == (8, 16, 16, 3)
    assert crops.dtype == np.uint8
