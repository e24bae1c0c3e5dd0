"""Streamed statistics against NumPy on all values at once, and the methods that make ranges of them."""

import weakref
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_bundle import tiny_model
from tiny_segmenter import tiny_segmenter

from calibration.ranges import Histogram, activations, collect, shared_scales


def filled(values: NDArray[np.float32], parts: int = 1) -> Histogram:
    histogram = Histogram()
    for part in np.array_split(values, parts):
        histogram.add(part)
    return histogram


def batches(count: int = 3) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    for _ in range(count):
        yield rng.standard_normal((8, 3, 32, 32)).astype(np.float32)


def normal(count: int = 200_000) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal(count).astype(np.float32)


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
@pytest.mark.parametrize("kind", ["signed", "relu"])
def test_percentiles_are_those_of_all_values(percent: float, kind: str) -> None:
    values = normal() if kind == "signed" else np.maximum(normal(), 0)
    low, high = filled(values, 7).percentile(percent)
    assert (low, high) == pytest.approx(np.percentile(values, [100 - percent, percent]), abs=0.02)


def test_bins_do_not_depend_on_the_order_of_batches() -> None:
    """Small values first widen the bins several times, large values first never."""
    values = np.sort(np.abs(normal(20_000))) * np.float32(100)
    growing, shrinking = filled(values, 50), filled(values[::-1], 50)
    assert growing.width == shrinking.width
    assert np.array_equal(growing.counts, shrinking.counts)
    assert growing.counts.sum() + growing.zeros == values.size


def test_minimum_and_maximum_are_exact() -> None:
    values = normal()
    histogram = filled(values, 5)
    assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_zeros_alone_are_a_range() -> None:
    histogram = filled(np.zeros(10, np.float32))
    assert (histogram.percentile(99.0), histogram.entropy()) == ((0.0, 0.0), (0.0, 0.0))


def test_entropy_cuts_a_lonely_outlier_and_keeps_even_values_whole() -> None:
    lonely = filled(np.append(normal(), np.float32(60)))
    even = filled(np.random.default_rng(1).uniform(-1, 1, 200_000).astype(np.float32))
    assert 2 < lonely.entropy()[1] < 12
    assert even.entropy() == pytest.approx((-1, 1), abs=0.02)


def test_a_value_that_is_no_number_names_its_tensor() -> None:
    broken = np.full((1, 3, 32, 32), np.nan, np.float32)
    with pytest.raises(ValueError, match="activation input is not finite"):
        collect(onnx.shape_inference.infer_shapes(tiny_model()), [broken])


def test_whole_ranges_are_the_extremes_of_all_batches_and_a_percentile_lies_inside() -> None:
    statistics = collect(onnx.shape_inference.infer_shapes(tiny_model()), batches())
    cells = np.concatenate(list(batches()))
    assert statistics.cells == 24
    whole, inner = statistics.ranges("min-max")["input"], statistics.ranges("percentile 99")["input"]
    assert whole == pytest.approx((cells.min(), cells.max()))
    assert inner == pytest.approx(np.percentile(cells, [1, 99]), abs=0.02)
    assert set(statistics.ranges("entropy")) == set(statistics.tensors)


def test_no_batch_is_held_after_it_was_counted() -> None:
    """Memory is that of one batch and one histogram a tensor, however many cells there are."""
    shown: list[weakref.ref[NDArray[np.float32]]] = []
    most = 0

    def streamed() -> Iterator[NDArray[np.float32]]:
        nonlocal most
        for batch in batches(6):
            shown.append(weakref.ref(batch))
            most = max(most, sum(each() is not None for each in shown))
            yield batch

    statistics = collect(onnx.shape_inference.infer_shapes(tiny_model()), streamed())
    assert statistics.cells == 48
    assert most <= 2
    assert {each.counts.size for each in statistics.tensors.values()} == {8192}


@pytest.mark.parametrize("method", ["mean", "percentile", "entropy 3"])
def test_an_unknown_method_is_refused(method: str) -> None:
    statistics = collect(onnx.shape_inference.infer_shapes(tiny_model()), batches(1))
    with pytest.raises(ValueError, match="no method"):
        statistics.ranges(method)


def test_tensors_that_only_pass_values_on_share_their_range() -> None:
    model = onnx.shape_inference.infer_shapes(tiny_segmenter())
    assert list(shared_scales(model)) == [("concat8.out", "maxpool4.out", "relu3.out", "relu6.out", "resize7.out")]
    ranges = collect(model, batches(1)).ranges("percentile 99")
    assert len({ranges[name] for name in ("concat8.out", "maxpool4.out", "relu3.out", "relu6.out", "resize7.out")}) == 1
    assert ranges["relu1.out"] != ranges["relu3.out"]


def test_numbers_about_shapes_are_no_activations() -> None:
    model = tiny_segmenter()
    sizes = onnx.helper.make_node("Shape", ["relu6.out"], ["sizes"], name="sizes")
    numbers = onnx.helper.make_node("Cast", ["sizes"], ["numbers"], name="numbers", to=onnx.TensorProto.FLOAT)
    model.graph.node.extend([sizes, numbers])
    names = list(activations(onnx.shape_inference.infer_shapes(model)))
    assert names[0] == "input"
    assert "relu6.out" in names
    assert not {"sizes", "numbers", "up.scales"} & set(names)
