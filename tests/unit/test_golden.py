"""Golden cells: an engine that answers as certified passes, one that does not is refused by name of the worst cell."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle, tiny_crops
from typing_extensions import Self

from edgecell.bundle import Bundle, Encoding
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import BundleCorrupt, BundleError, BundleMismatch
from edgecell.golden import GOLDEN, certified_as, read_golden, replay, write_golden
from edgecell.protocols import Probe

Outputs = dict[str, NDArray[np.float32]]


class Tampering:
    """A stand-in engine that answers from the golden file, changed by `change`."""

    description = "stand-in"

    def __init__(self, bundle: Bundle, change: Callable[[Outputs], object] = lambda outputs: None) -> None:
        self._left = {name: value.copy() for name, value in read_golden(bundle.file(GOLDEN), "u8s8").outputs.items()}
        change(self._left)
        self.calls: list[int] = []

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        at = sum(self.calls)
        self.calls.append(len(batch))
        return {name: value[at : at + len(batch)] for name, value in self._left.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="0")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("encoding", ["float", "s8s8", "u8s8"])
@pytest.mark.parametrize("optimise", [True, False])
def test_the_certified_engine_passes_with_other_kernels_too(tiny: Bundle, encoding: Encoding, optimise: bool) -> None:
    """Without optimisation the graph is computed in float between quantization steps: it rounds otherwise, as another CPU."""
    with OnnxRuntimeEngine(
        tiny.file(f"{encoding}.onnx"), manifest=tiny.manifest, options=OnnxRuntimeOptions(optimise=optimise)
    ) as engine:
        report = replay(tiny, engine, encoding)
    assert report.cells >= 12
    assert set(report.deviation) == {"logits", "features"}
    assert all(report.deviation[name] <= report.tolerance[name] for name in report.deviation)


def test_batches_stay_within_the_manifest(tiny: Bundle) -> None:
    engine = Tampering(tiny)
    replay(tiny, engine, "u8s8")
    assert len(engine.calls) > 1
    assert max(engine.calls) == tiny.manifest.input.batch.max


def test_a_deviation_beyond_tolerance_names_the_worst_cell(tiny: Bundle) -> None:
    limit = read_golden(tiny.file(GOLDEN), "u8s8").tolerance["logits"]

    def change(outputs: Outputs) -> None:
        outputs["logits"][3] += limit * 1.01
        outputs["logits"][7] += limit * 2

    with pytest.raises(BundleMismatch, match=r"stand-in: golden cell 7 deviates by .* in logits"):
        replay(tiny, Tampering(tiny, change), "u8s8")


def test_a_deviation_within_tolerance_passes_and_is_reported(tiny: Bundle) -> None:
    limit = read_golden(tiny.file(GOLDEN), "u8s8").tolerance["features"]
    report = replay(tiny, Tampering(tiny, lambda outputs: np.add.at(outputs["features"], (2, 0), limit * 0.9)), "u8s8")
    assert report.deviation["features"] == pytest.approx(limit * 0.9, rel=1e-3)


def test_not_a_number_is_refused(tiny: Bundle) -> None:
    with pytest.raises(BundleMismatch, match="golden cell 4 deviates by nan in logits"):
        replay(tiny, Tampering(tiny, lambda outputs: outputs["logits"].__setitem__((4, 0), np.nan)), "u8s8")


def test_a_missing_output_is_refused(tiny: Bundle) -> None:
    with pytest.raises(BundleMismatch, match="no output features"):
        replay(tiny, Tampering(tiny, lambda outputs: outputs.pop("features")), "u8s8")


def test_another_top_class_is_refused_even_within_tolerance(tmp_path: Path) -> None:
    """A golden file whose cells stand too close: not one that write_golden makes."""
    tiny = make_tiny_bundle(tmp_path)
    expected = read_golden(tiny.file(GOLDEN), "u8s8")
    arrays: dict[str, Any] = {f"u8s8/{name}": value for name, value in expected.outputs.items()}
    arrays |= {f"u8s8/{name}/tolerance": np.float32(1e6) for name in expected.outputs}
    np.savez(tiny.path / GOLDEN, crops=expected.crops, **arrays)
    with pytest.raises(BundleMismatch, match=r"golden cell \d+ is called .*, it was certified as"):
        replay(tiny, Tampering(tiny, lambda outputs: outputs["logits"].__imul__(-1)), "u8s8")


def test_wrong_colour_order_is_refused(tiny: Bundle, tmp_path: Path) -> None:
    swapped = make_tiny_bundle(tmp_path)
    expected = read_golden(swapped.file(GOLDEN), "u8s8")
    with np.load(swapped.path / GOLDEN) as stored:
        arrays = dict(stored)
    np.savez(swapped.path / GOLDEN, **{**arrays, "crops": np.ascontiguousarray(expected.crops[..., ::-1])})
    with OnnxRuntimeEngine(tiny.file("u8s8.onnx")) as engine, pytest.raises(BundleMismatch, match="golden cell"):
        replay(swapped, engine, "u8s8")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_an_unreadable_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / GOLDEN).write_bytes(content)
    with pytest.raises(BundleCorrupt, match="copy the bundle again"):
        read_golden(tmp_path / GOLDEN, "u8s8")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / GOLDEN, crops=np.asarray([{"a": 1}], dtype=object))
    with pytest.raises(BundleCorrupt, match="pickle"):
        read_golden(tmp_path / GOLDEN, "u8s8")


def test_half_precision_is_held_to_the_answers_of_the_float_model(tiny: Bundle) -> None:
    with OnnxRuntimeEngine(tiny.file("float.onnx"), manifest=tiny.manifest) as engine:
        assert replay(tiny, engine, "fp16") == replay(tiny, engine, "float")
    assert [certified_as(each) for each in get_args(Encoding)] == ["float", "float", "s8s8", "u8s8"]


def test_an_encoding_that_was_not_certified_is_refused(tiny: Bundle) -> None:
    with pytest.raises(BundleError, match="no golden cells for fp16"):
        read_golden(tiny.file(GOLDEN), "fp16")


def test_cells_too_close_to_call_are_left_out(tmp_path: Path) -> None:
    logits = np.asarray([[0, 9, 0], [5, 5.1, 0], [7, 0, 0]], dtype=np.float32)
    kept = write_golden(tmp_path / GOLDEN, tiny_crops(3), {"logits": logits}, {"u8s8": {"logits": logits + np.float32(0.2)}})
    assert kept == 2
    stored = read_golden(tmp_path / GOLDEN, "u8s8")
    assert stored.outputs["logits"].argmax(axis=1).tolist() == [1, 0]
    assert stored.tolerance["logits"] == pytest.approx(0.2, rel=1e-4)


def test_what_may_rightly_be_answered_as_well_widens_the_tolerance(tmp_path: Path) -> None:
    logits = np.asarray([[9, 0, 0], [0, 9, 0], [0, 0, 9]], dtype=np.float32)
    also = {"logits": logits + np.float32(0.5)}
    write_golden(
        tmp_path / GOLDEN, tiny_crops(3), {"logits": logits}, {"s8s8": {"logits": logits + np.float32(0.2)}}, {"s8s8": also}
    )
    assert read_golden(tmp_path / GOLDEN, "s8s8").tolerance["logits"] == pytest.approx(0.2 + 0.3, abs=1e-5)
    assert read_golden(tmp_path / GOLDEN, "float").tolerance["logits"] < 0.1


def test_without_a_clear_cell_there_is_no_golden_file(tmp_path: Path) -> None:
    logits = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="no golden cell"):
        write_golden(tmp_path / GOLDEN, tiny_crops(2), {"logits": logits}, {})


def test_the_file_is_the_same_each_time(tmp_path: Path) -> None:
    logits = np.eye(3, dtype=np.float32) * 5
    for name in ("a.npz", "b.npz"):
        write_golden(tmp_path / name, tiny_crops(3), {"logits": logits}, {})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
