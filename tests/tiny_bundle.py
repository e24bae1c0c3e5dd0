"""A whole, valid, small bundle, built in a moment: three classes, 32 px, a residual net with fixed weights."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibration.quantize import quantize
from edgecell.bundle import (
    BatchRange,
    Bundle,
    CellClass,
    Confidence,
    Dataset,
    Group,
    InputSpec,
    Manifest,
    OutputSpec,
    Provenance,
    Quantization,
    open_bundle,
    write_manifest,
)
from edgecell.certificate import Certificate, Figure, Limit, versions
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.golden import write_golden
from edgecell.preprocess import Preprocess, to_batch

SIZE, WIDTH, CLASSES = 32, 16, ("neutrophil", "lymphocyte", "artefact")


def tiny_model(*, size: int = SIZE, width: int = WIDTH, classes: int = len(CLASSES), seed: int = 0) -> Any:
    """ONNX: stem 3 -> width, one identity block, one projection block to 2 width, pooled `features`, `logits`. Opset 17."""
    net = Net(np.random.default_rng(seed))
    stem = net.relu(net.conv("input", 3, width, 3, 2))
    first = net.relu(net.add(net.conv(net.relu(net.conv(stem, width, width, 3, 1)), width, width, 3, 1), stem))
    wide = 2 * width
    main = net.conv(net.relu(net.conv(first, width, wide, 3, 2)), wide, wide, 3, 1)
    last = net.relu(net.add(main, net.conv(first, width, wide, 1, 2)))
    pooled = net.node("GlobalAveragePool", [last])
    net.node("Flatten", [pooled], output="features", axis=1)
    weight = net.constant("fc.weight", net.draw((classes, wide), wide) * 8)
    bias = net.constant("fc.bias", np.zeros(classes, np.float32))
    net.node("Gemm", ["features", weight, bias], output="logits", transB=1)
    graph = helper.make_graph(
        net.nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, size, size])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", wide]),
        ],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Net:
    """Collects nodes and weights; every tensor is named by its node."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def draw(self, shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
        return np.asarray(self.rng.standard_normal(shape) * np.sqrt(2.0 / fan_in), dtype=np.float32)

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op_type: str, inputs: list[str], *, output: str = "", **attributes: object) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output or f"{name}.out"], name=name, **attributes))
        return output or f"{name}.out"

    def conv(self, source: str, inside: int, outside: int, kernel: int, stride: int) -> str:
        at = len(self.nodes)
        weight = self.constant(f"conv{at}.weight", self.draw((outside, inside, kernel, kernel), inside * kernel * kernel))
        bias = self.constant(f"conv{at}.bias", self.draw((outside,), 200))
        return self.node(
            "Conv", [source, weight, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4
        )

    def relu(self, source: str) -> str:
        return self.node("Relu", [source])

    def add(self, main: str, skip: str) -> str:
        return self.node("Add", [main, skip])


def tiny_crops(count: int, *, size: int = SIZE, seed: int = 3) -> NDArray[np.uint8]:
    """uint8 (count, size, size, 3): a dark disc of its own colour and radius on a bright ground with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    discs = np.hypot(x, y) < rng.uniform(0.15, 0.45, (count, 1, 1)) * size
    inks = rng.integers(20, 200, (count, 1, 1, 3))
    images = np.where(discs[..., None], inks, 235) + rng.integers(-10, 11, (count, size, size, 3))
    return images.astype(np.uint8)


def make_tiny_bundle(folder: Path) -> Bundle:
    """Write a bundle into `folder` (made if missing) and open it. Built once a process, then copied."""
    shutil.copytree(_built(), folder, dirs_exist_ok=True)
    return open_bundle(folder)


def tiny_manifest() -> Manifest:
    """The manifest of the tiny bundle, files left out."""
    groups: tuple[Group, ...] = ("leukocyte", "leukocyte", "reject")
    return Manifest(
        name="tiny",
        version="1.0.0",
        task="classify",
        specimen="blood",
        classes=tuple(
            CellClass(name=name, abbreviation=name[:3].upper(), group=group, in_differential=group == "leukocyte")
            for name, group in zip(CLASSES, groups, strict=True)
        ),
        input=InputSpec(name="input", shape=(3, SIZE, SIZE), batch=BatchRange(min=1, opt=4, max=8)),
        preprocess=Preprocess(pixel_um=0.5, crop_um=16.0, size_px=SIZE, mean=(0.7, 0.6, 0.8), std=(0.2, 0.2, 0.2)),
        outputs=(OutputSpec(name="logits", shape=(len(CLASSES),)), OutputSpec(name="features", shape=(2 * WIDTH,))),
        confidence=Confidence(temperature=1.5, unsure_below=0.6),
        quantization=Quantization(method="minimum to maximum", calibration_cells=32, kept_float=("conv0", "gemm15")),
        files={},
        metrics={"accuracy": 0.5, "tiny.accuracy": 0.5, "recall": {"neutrophil": 0.5, "lymphocyte": None}},
        provenance=Provenance(
            datasets=(Dataset(name="none", licence="none"),), split="none", recipe_sha256="0" * 64, commit="none", seed=0
        ),
    )


def certified(folder: Path, manifest: Manifest) -> Bundle:
    """Write the manifest of the files in `folder` and a certificate for it, as the workshop does; open the result."""
    certificate = Certificate(
        measured_on="test split",
        figures={"tiny.accuracy": Figure(value=0.5, n=10, low=0.19, high=0.81), "size_mb": Figure(value=0.25)},
        limits=(Limit(figure="tiny.accuracy", bound="at least", limit=0.25, value=0.5, margin=0.25),),
        libraries=versions(),
        splits={"tiny.tsv": "1" * 64},
        recipe_sha256=manifest.provenance.recipe_sha256,
        commit="none",
    )
    return write_manifest(folder, manifest, certificate)


@lru_cache(maxsize=1)
def _built() -> Path:
    folder, manifest = Path(tempfile.mkdtemp(prefix="tiny-bundle-")), tiny_manifest()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cells = to_batch(tiny_crops(32), manifest.preprocess)
    onnx.save(_balanced(tiny_model(), folder / "float.onnx", cells), folder / "float.onnx")
    quantize(folder / "float.onnx", [cells], folder)
    golden = tiny_crops(24, seed=5)
    batch = to_batch(golden, manifest.preprocess)
    answers = {name: _answers(folder / f"{name}.onnx", batch) for name in ("float", "s8s8", "u8s8")}
    write_golden(folder / "golden.npz", golden, answers["float"], {"s8s8": answers["s8s8"], "u8s8": answers["u8s8"]})
    (folder / "CARD.md").write_text("# tiny\n\nRandom weights. For tests only.\n")
    certified(folder, manifest)
    return folder


def _balanced(model: Any, path: Path, cells: NDArray[np.float32]) -> Any:
    """The model with the bias that makes its mean logits over `cells` zero: every class then wins somewhere."""
    onnx.save(model, path)
    bias = next(each for each in model.graph.initializer if each.name == "fc.bias")
    bias.CopyFrom(numpy_helper.from_array(-_answers(path, cells)["logits"].mean(axis=0), "fc.bias"))
    return model


def _answers(model: Path, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    with OnnxRuntimeEngine(model, options=OnnxRuntimeOptions(optimise=model.stem != "s8s8")) as engine:
        return engine.infer(batch)
