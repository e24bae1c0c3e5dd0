"""The script that checks and measures a bundle on a GPU, end to end on the stand-ins: what it builds, compares and reports.

Its figures here are of the stand-ins and say nothing; that it has them all, and finds what is wrong, is what is tested.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from command_line import PATIENCE_S
from conftest import StandInMachine
from tiny_bundle import make_tiny_bundle, tiny_crops

from benchmarks import tensorrt_pack
from edgecell.bundle import Bundle

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/tensorrt_check.py"
ENDS: dict[str, list[int | str]] = {"x": ["n", 3, 8, 8], "logits": ["n", 5]}
NOT_THERE = ("msgspec", "cv2", "zmq", "click", "rich")
"""Of edgecell's own needs, what a GPU machine with Python, numpy, TensorRT and a CUDA binding does not have."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("check"))


@pytest.fixture(scope="module")
def pack(tiny: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a folder of pictures as the real cells."""
    folder = tmp_path_factory.mktemp("cells")
    for number, crop in enumerate(tiny_crops(12)):
        cv2.imwrite(str(folder / f"{number}.png"), crop[..., ::-1])
    path = folder / "pack.npz"
    command = [
        sys.executable,
        str(SCRIPT),
        "--pack",
        str(path),
        "--bundle",
        str(tiny.path),
        "--data",
        str(folder),
        "--cells",
        "9",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{path}: tiny 1.0.0, ")
    return path


def run(pack: Path, bundle: Path, folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    for name in NOT_THERE:
        (folder / "without").mkdir(exist_ok=True)
        (folder / "without" / f"{name}.py").write_text(f"raise ImportError('{name} is not for this machine')")
    path = os.pathsep.join([str(folder / "without"), os.environ["PYTHONPATH"]])
    command = [sys.executable, str(SCRIPT), str(pack), "--bundle", str(bundle), "--out", str(folder / "report")]
    command += ["--seconds", "0.02", "--batches", "1", "8", "64", *more]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.16.1.11", "11.4.0.106"])
def test_every_precision_is_built_compared_and_measured(
    version: str, tiny: Bundle, pack: Path, stand_in_machine: StandInMachine, tmp_path: Path
) -> None:
    stand_in_machine.tensorrt(version)
    ended = run(pack, tiny.path, tmp_path, "--peak-tops", "40,20,10", "--peak-gbs", "68")
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["machine"]["tensorrt"] == version
    assert report["machine"]["device"]
    strongly = version.startswith(("10.16", "11"))
    for precision, told in report["precisions"].items():
        if precision == "fp16" and strongly:
            assert "fp16.onnx is not the file" in told["error"], "this bundle has none"
            continue
        assert told["right"]
        assert told["file"] == ("s8s8.onnx" if precision == "int8" else "float.onnx")
        golden, data = told["verified"]["golden"], told["verified"]["data"]
        assert golden["same_top"] == golden["cells"] > 0
        assert set(golden["outputs"]) == {each.name for each in tiny.manifest.outputs}
        assert (data["cells"], data["same_top"]) == (9, 9)
        most = tiny.manifest.input.batch.max
        expected = [(count, graphs) for count in (1, 8, 64) if count <= most for graphs in (False, True)]
        assert [(row["batch"], row["graphs"]) for row in told["measured"]] == expected
        for row in told["measured"]:
            assert row["host_ms"]["p50"] <= row["host_ms"]["p95"] <= row["host_ms"]["p99"]
            assert row["device_ms"]["runs"] >= 20
            assert row["cells_per_s"] > 0
            assert row["operations"] == 2 * row["batch"] * report["bundle"]["work"]["multiply_adds"] > 0
            assert row["share_of_roof"] == pytest.approx(row["roof_ms"] / row["device_ms"]["p50"])
    assert f"# tiny 1.0.0 on {report['machine']['device']}" in (tmp_path / "report.md").read_text()


def test_wrong_answers_are_found(tiny: Bundle, pack: Path, stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    """A pack whose golden answers are another model's."""
    with np.load(pack) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["golden/s8s8/logits"] = np.roll(arrays["golden/s8s8/logits"], 1, axis=1)
    other = tmp_path / "other.npz"
    np.savez(other, **arrays)
    ended = run(other, tiny.path, tmp_path, "--precision", "int8", "fp32")
    assert ended.returncode == 1, ended.stderr
    precisions = json.loads((tmp_path / "report.json").read_text())["precisions"]
    assert (precisions["int8"]["right"], precisions["fp32"]["right"]) == (False, True)
    assert "WRONG" in (tmp_path / "report.md").read_text()


def test_another_bundle_than_the_pack_s_is_refused(
    tiny: Bundle, pack: Path, stand_in_machine: StandInMachine, tmp_path: Path
) -> None:
    (tmp_path / "s8s8.onnx").write_bytes(tiny.file("float.onnx").read_bytes())
    ended = run(pack, tmp_path, tmp_path, "--precision", "int8")
    assert ended.returncode == 1
    told = json.loads((tmp_path / "report.json").read_text())["precisions"]["int8"]
    assert "is not the file that" in told["error"]


def test_without_a_driver_it_ends_in_one_line(
    tiny: Bundle, pack: Path, stand_in_machine: StandInMachine, tmp_path: Path
) -> None:
    stand_in_machine.driver(devices=0)
    ended = run(pack, tiny.path, tmp_path)
    assert ended.returncode == 3
    assert [line.startswith("tensorrt_check: error: ") for line in ended.stderr.splitlines()] == [True]


def test_real_cells_are_packed_as_a_run_sees_them(tiny: Bundle, pack: Path) -> None:
    with np.load(pack) as stored:
        assert stored["data/input"].shape[0] == 9
        assert stored["data/input"].dtype == np.float32
        assert stored["data/float/logits"].shape == stored["data/s8s8/logits"].shape


def test_work_is_that_counted_by_hand(tmp_path: Path) -> None:
    """Convolution 3 -> 4, 3x3, stride 2; transposed one 4 -> 2, 2x2, stride 2; a product 128 -> 5."""
    shapes = {"a": (4, 3, 3, 3), "b": (4, 2, 2, 2), "c": (5, 128)}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "a"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["y"], ["r"]),
        onnx.helper.make_node("ConvTranspose", ["r", "b"], ["z"], strides=[2, 2]),
        onnx.helper.make_node("Flatten", ["z"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "c"], ["logits"], transB=1),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, of) for name, of in ENDS.items()]
    weights = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
    graph = onnx.helper.make_graph(nodes, "work", ends[:1], ends[1:], weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), str(tmp_path / "work.onnx"))
    assert tensorrt_pack.work_of(tmp_path / "work.onnx", (1, 3, 8, 8)) == {
        "multiply_adds": 4 * 4 * 4 * 27 + 4 * 4 * 4 * 8 + 128 * 5,
        "weights": 108 + 32 + 640,
        "values": (192 + 64) + (64 + 128) + (128 + 5),
    }
