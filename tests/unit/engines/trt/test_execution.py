"""Running a plan, on stand-ins for TensorRT, the CUDA bindings and the GPU: the answers, the overlap, and that all is freed."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import StandInMachine
from gpu_stand_in import Gpu
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle, tiny_crops
from tiny_segmenter import tiny_segmenter
from trt_stand_in_plan import library_of, plan_bytes, plan_of

from edgecell.bundle import Bundle
from edgecell.engines.trt.cuda import Cuda
from edgecell.engines.trt.cuda_python import CudaPython
from edgecell.engines.trt.execution import GRAPHS_OF_A_SET, Execution
from edgecell.engines.trt.pycuda_binding import PyCuda
from edgecell.errors import EngineBuildError, EngineError, InferenceError
from edgecell.preprocess import to_batch

Batch = NDArray[np.float32]
VERSIONS = ((8, 6, 1), (10, 3, 0), (10, 16, 1), (11, 4, 0))
PROFILE = {"input": [(1, 3, 32, 32), (1, 3, 64, 96), (4, 3, 4096, 4096)]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("execution"))


@pytest.fixture(scope="module")
def batch(tiny: Bundle) -> Batch:
    return to_batch(tiny_crops(tiny.manifest.input.batch.max), tiny.manifest.preprocess)


@pytest.fixture(params=[CudaPython, PyCuda])
def cuda(request: pytest.FixtureRequest, gpu: Gpu) -> Iterator[Cuda]:
    opened = request.param(0)
    yield opened
    opened.close()


@pytest.fixture
def cuda_python(gpu: Gpu) -> Iterator[Cuda]:
    opened = CudaPython(0)
    yield opened
    opened.close()


@pytest.fixture(params=VERSIONS, ids=lambda version: ".".join(map(str, version)))
def version(request: pytest.FixtureRequest, stand_in_packages: StandInMachine) -> tuple[int, ...]:
    found: tuple[int, ...] = request.param
    stand_in_packages.tensorrt(".".join(map(str, found)))
    return found


def execution_of(plan: bytes, cuda: Cuda, version: tuple[int, ...] = (10, 3, 0), **options: bool) -> Execution:
    return Execution(library_of(version), plan, cuda, **options)


def segmenter_plan(version: str = "10.3.0") -> bytes:
    model: bytes = tiny_segmenter().SerializeToString()
    return plan_bytes(model, PROFILE, version=version)


def on_cpu(model: bytes | Path, batch: Batch) -> dict[str, Batch]:
    """ONNX Runtime's answers, every operator as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model, options)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": batch}), strict=True))


def assert_same(answers: Mapping[str, Batch], expected: Mapping[str, Batch]) -> None:
    assert answers.keys() == expected.keys()
    for name, value in expected.items():
        assert answers[name].dtype == np.float32
        np.testing.assert_allclose(answers[name], value, rtol=1e-4, atol=1e-5)  # ONNX Runtime itself differs from run to run


def test_every_version_answers_as_the_model_does(tiny: Bundle, batch: Batch, cuda: Cuda, version: tuple[int, ...]) -> None:
    plan = plan_of(tiny, "s8s8", version=".".join(map(str, version)))
    with execution_of(plan, cuda, version) as execution:
        assert execution.input == "input"
        assert execution.outputs == {each.name: each.shape for each in tiny.manifest.outputs}
        for count in (3, 8, 1, 3, 3, 3, 8, 8):
            assert_same(execution.infer(batch[:count]), on_cpu(tiny.file("s8s8.onnx"), batch[:count]))


def test_no_cells_have_no_answers(tiny: Bundle, batch: Batch, cuda: Cuda) -> None:
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        shapes = {name: value.shape for name, value in execution.infer(batch[:0]).items()}
    assert shapes == {each.name: (0, *each.shape) for each in tiny.manifest.outputs}


def test_the_caller_owns_batch_and_outputs(tiny: Bundle, batch: Batch, cuda: Cuda) -> None:
    expected = on_cpu(tiny.file("float.onnx"), batch[:2])
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        given = batch[:2].copy()
        pending = execution.submit(given)
        given[:] = 0
        first = pending.result()
        assert_same(first, expected)
        for _ in range(4):
            execution.infer(batch[4:6])
        assert_same(first, expected)
        assert pending.result() is first


def test_two_batches_are_on_their_way_and_a_third_waits_for_the_oldest(
    tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda
) -> None:
    parts = [batch[at : at + 1] for at in range(5)]
    with execution_of(plan_of(tiny, "float"), cuda, graphs=False) as execution:
        (stream,) = gpu.streams.values()
        first = execution.submit(parts[0])
        one = len(stream.waiting)
        assert one > 1, "submit does not wait"
        rest = [execution.submit(parts[1])]
        assert len(stream.waiting) == 2 * one
        rest += [execution.submit(each) for each in parts[2:]]
        assert len(stream.waiting) == 2 * one, "nor does a third one wait for more than the oldest"
        for pending, part in reversed(list(zip([first, *rest], parts, strict=True))):
            assert_same(pending.result(), on_cpu(tiny.file("float.onnx"), part))


def test_an_answer_that_nobody_asks_for_is_no_harm(tiny: Bundle, batch: Batch, cuda: Cuda) -> None:
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        for count in (1, 2, 3):
            execution.submit(batch[:count])
        assert_same(execution.infer(batch), on_cpu(tiny.file("float.onnx"), batch))
        execution.submit(batch)


def test_a_result_asked_for_after_the_end_is_an_error(tiny: Bundle, batch: Batch, cuda: Cuda) -> None:
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        settled, late = execution.submit(batch[:1]), execution.submit(batch[:1])
        settled.result()
    settled.result()
    with pytest.raises(InferenceError, match="closed before"):
        late.result()
    with pytest.raises(InferenceError, match="not open"):
        execution.infer(batch)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (np.zeros((9, 3, 32, 32), np.float32), "N must be from 1 to 8"),
        (np.zeros((2, 3, 31, 32), np.float32), "H must be 32"),
        (np.zeros((2, 1, 32, 32), np.float32), "C must be 3"),
        (np.zeros((0, 1, 32, 32), np.float32), "C must be 3"),
        (np.zeros((3, 32, 32), np.float32), "4 axes"),
        (np.zeros((), np.float32), "4 axes"),
        (np.zeros((2, 3, 32, 32)), "float32"),
        (np.zeros((2, 3, 32, 32), np.uint8), "float32"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_next_batch_is_answered(
    tiny: Bundle, batch: Batch, cuda: Cuda, wrong: Any, problem: str
) -> None:
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        with pytest.raises(InferenceError, match=rf"{problem}.*Fix: .*at most 8"):
            execution.submit(wrong)
        assert_same(execution.infer(batch), on_cpu(tiny.file("float.onnx"), batch))


def test_a_batch_that_is_not_contiguous_is_taken_as_it_is(tiny: Bundle, batch: Batch, cuda: Cuda) -> None:
    turned = batch.transpose(0, 1, 3, 2)
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        assert_same(execution.infer(turned), on_cpu(tiny.file("float.onnx"), np.ascontiguousarray(turned)))


def test_fields_of_any_size_share_buffers_that_grow(gpu: Gpu, cuda: Cuda, version: tuple[int, ...]) -> None:
    model: bytes = tiny_segmenter().SerializeToString()
    rng = np.random.default_rng(1)
    with execution_of(segmenter_plan(".".join(map(str, version))), cuda, version) as execution:
        assert execution.outputs == {"centres": (4, 0, 0), "masks": (16, 0, 0)}
        used = sum(each.size for each in [*gpu.memory.values(), *gpu.pinned.values()])
        assert used < 20e6, "not as much as 4 fields of 4096 x 4096 would take"
        for shape in ((1, 3, 64, 96), (1, 3, 32, 32), (2, 3, 128, 64), (1, 3, 64, 96), (1, 3, 160, 160), (1, 3, 160, 160)) * 2:
            field = rng.standard_normal(shape).astype(np.float32)
            assert_same(execution.infer(field), on_cpu(model, field))
        assert execution.infer(np.zeros((0, 3, 64, 96), np.float32))["centres"].shape == (0, 4, 32, 48)
        with pytest.raises(InferenceError, match="H must be from 32 to 4096"):
            execution.infer(np.zeros((1, 3, 16, 32), np.float32))


def test_growing_keeps_what_is_on_its_way(cuda: Cuda) -> None:
    model: bytes = tiny_segmenter().SerializeToString()
    rng = np.random.default_rng(2)
    fields = [rng.standard_normal((1, 3, size, size)).astype(np.float32) for size in (32, 64, 128, 192, 256)]
    with execution_of(segmenter_plan(), cuda) as execution:
        pendings = [execution.submit(field) for field in fields]
        for pending, field in zip(pendings, fields, strict=True):
            assert_same(pending.result(), on_cpu(model, field))


def test_too_large_a_field_for_the_memory_is_an_error_and_smaller_ones_go_on(gpu: Gpu, cuda: Cuda) -> None:
    model: bytes = tiny_segmenter().SerializeToString()
    field = np.random.default_rng(3).standard_normal((1, 3, 64, 64)).astype(np.float32)
    with execution_of(segmenter_plan(), cuda) as execution:
        gpu.memory_bytes = 4_000_000
        for _ in range(3):
            with pytest.raises(InferenceError, match=r"Memory.*Fix: .*smaller"):
                execution.infer(np.zeros((1, 3, 512, 512), np.float32))
        assert_same(execution.infer(field), on_cpu(model, field))


def test_too_little_memory_to_begin_with_is_an_error(tiny: Bundle, gpu: Gpu, cuda: Cuda) -> None:
    gpu.memory_bytes = 1000
    with pytest.raises(InferenceError, match="Memory"), execution_of(plan_of(tiny, "float"), cuda):
        pass


def test_a_shape_that_comes_back_is_launched_as_a_graph(tiny: Bundle, batch: Batch, gpu: Gpu, cuda_python: Cuda) -> None:
    with execution_of(plan_of(tiny, "s8s8"), cuda_python) as execution:
        for count in (2, 2, 2, 2, 3, 3, 3, 3):
            execution.infer(batch[:count])
        assert gpu.launches == 0, "each set of buffers has seen these twice"
        assert len(gpu.graphs) == 4
        for count in (2, 3, 2, 2, 3):
            assert_same(execution.infer(batch[:count]), on_cpu(tiny.file("s8s8.onnx"), batch[:count]))
        assert gpu.launches == 5
        assert gpu.calls.count("enqueue") == 8 + 2 * 4, "a run and a capture for each graph"


def test_before_10_a_plan_that_shares_no_profile_runs_without_graphs(
    gpu: Gpu, cuda_python: Cuda, stand_in_packages: StandInMachine, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in_packages.tensorrt("8.6.1")
    model: bytes = tiny_segmenter().SerializeToString()
    field = np.random.default_rng(6).standard_normal((1, 3, 64, 64)).astype(np.float32)
    plan = plan_bytes(model, PROFILE, version="8.6.1", sharing=False)
    with execution_of(plan, cuda_python, (8, 6, 1)) as execution:
        for _ in range(6):
            assert_same(execution.infer(field), on_cpu(model, field))
    assert gpu.launches == 0
    assert "switched off, batches run without: TensorRT makes no context for the plan: Profile 0 has been chosen" in caplog.text


def test_graphs_and_plain_runs_may_alternate(tiny: Bundle, batch: Batch, gpu: Gpu, cuda_python: Cuda) -> None:
    rng = np.random.default_rng(4)
    with execution_of(plan_of(tiny, "s8s8"), cuda_python) as execution:
        for count in rng.integers(1, 9, 60):
            at = int(rng.integers(0, len(batch) - count + 1))
            part = batch[at : at + count]
            assert_same(execution.infer(part), on_cpu(tiny.file("s8s8.onnx"), part))
    assert gpu.launches > 10


def test_graphs_are_bounded(gpu: Gpu, cuda_python: Cuda) -> None:
    with execution_of(segmenter_plan(), cuda_python) as execution:
        execution.infer(np.zeros((1, 3, 32, 1200), np.float32))
        execution.infer(np.zeros((1, 3, 32, 1200), np.float32))
        for at in range(GRAPHS_OF_A_SET + 4):
            for _ in range(4):
                execution.infer(np.zeros((1, 3, 32, 32 + 16 * at), np.float32))
        assert len(gpu.graphs) == 2 * GRAPHS_OF_A_SET


def test_growing_takes_the_graphs_along(gpu: Gpu, cuda_python: Cuda) -> None:
    model: bytes = tiny_segmenter().SerializeToString()
    field = np.random.default_rng(5).standard_normal((1, 3, 64, 64)).astype(np.float32)
    with execution_of(segmenter_plan(), cuda_python) as execution:
        for _ in range(6):
            execution.infer(field)
        assert (len(gpu.graphs), gpu.launches) == (2, 2)
        execution.infer(np.zeros((1, 3, 256, 256), np.float32))
        assert not gpu.graphs
        assert_same(execution.infer(field), on_cpu(model, field))


def test_without_graphs_nothing_is_captured(tiny: Bundle, batch: Batch, gpu: Gpu, cuda_python: Cuda) -> None:
    with execution_of(plan_of(tiny, "float"), cuda_python, graphs=False) as execution:
        for _ in range(8):
            execution.infer(batch)
    assert gpu.launches == gpu.calls.count("begin capture") == 0


@pytest.mark.parametrize("call", ["begin capture", "end capture", "instantiate", "context"])
def test_a_capture_that_fails_switches_graphs_off_and_harms_no_batch(
    tiny: Bundle, batch: Batch, gpu: Gpu, cuda_python: Cuda, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), execution_of(plan_of(tiny, "float"), cuda_python) as execution:
        gpu.fail(call)
        for _ in range(10):
            assert_same(execution.infer(batch[:2]), on_cpu(tiny.file("float.onnx"), batch[:2]))
    assert gpu.launches == 0
    assert [record.message.count("CUDA graphs are switched off") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: plan.replace(b'"10.3.0"', b'"10.4.0"'), "expecting library version 10.3.0 got 10.4.0"),
        (lambda plan: plan.replace(b'"87"', b'"72"'), "incompatible device"),
        (lambda plan: plan[5:], "magic tag"),
        (lambda plan: b"", "magic tag"),
    ],
)
def test_a_plan_that_tensorrt_refuses_is_named_with_its_reason(
    tiny: Bundle, cuda: Cuda, change: Callable[[bytes], bytes], said: str
) -> None:
    plan = change(plan_of(tiny, "float"))
    with (
        pytest.raises(EngineBuildError, match=rf"refuses the plan: .*{said}.*Fix: .*edgecell prepare"),
        execution_of(plan, cuda),
    ):
        pass


def test_engines_side_by_side_share_the_one_logger(
    tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda, version: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    plans = [plan_of(tiny, encoding, version=".".join(map(str, version))) for encoding in ("s8s8", "float")]
    with execution_of(plans[0], cuda, version) as kept, caplog.at_level(logging.WARNING):
        for plan in plans:
            with execution_of(plan, cuda, version) as other:
                assert_same(other.infer(batch[:1]), other.infer(batch[:1]))
        kept.infer(batch[:1])
    assert not caplog.records
    assert not gpu.misuses


def test_the_logger_outlives_the_engine_that_came_first(tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda) -> None:
    plan = plan_of(tiny, "float")
    with ExitStack() as first:
        first.enter_context(execution_of(plan, cuda))
        with execution_of(plan, cuda) as second:
            first.pop_all().close()
            with execution_of(plan, cuda):
                second.infer(batch[:1])
    assert not gpu.misuses


def test_a_plan_of_halves_at_its_edge_is_refused(cuda: Cuda) -> None:
    plan = plan_bytes(half_identity(), {"input": [(1, 3), (1, 3), (1, 3)]})
    with pytest.raises(EngineBuildError, match="not float32"), execution_of(plan, cuda):
        pass


def half_identity() -> bytes:
    from onnx import TensorProto, helper

    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", 3]) for name in ("input", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["same"])], "half", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def test_an_error_on_the_device_comes_with_the_result(tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda) -> None:
    """And stays: CUDA does not recover from these. What was freed is still freed."""
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        first, second = execution.submit(batch[:1]), execution.submit(batch[:2])
        gpu.broken("cudaErrorIllegalAddress")
        for pending in (second, first, second):
            with pytest.raises(InferenceError, match="CUDA: "):
                pending.result()
        with pytest.raises(InferenceError, match="Fix: "):
            execution.submit(batch)


def test_a_failing_copy_is_an_error_of_that_batch_alone(tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda) -> None:
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        before = execution.submit(batch[:3])
        for after in (0, 1, 2):
            gpu.fail("copy", after=after)
            with pytest.raises(InferenceError, match="Memcpy"):
                execution.submit(batch[:2])
        assert_same(before.result(), on_cpu(tiny.file("float.onnx"), batch[:3]))
        assert_same(execution.infer(batch), on_cpu(tiny.file("float.onnx"), batch))


def test_whatever_call_fails_all_is_freed(tiny: Bundle, batch: Batch, gpu: Gpu) -> None:
    """Every call of a whole life is made to fail, one life each: the error is ours, and nothing is left when it comes out."""
    plan = plan_of(tiny, "float")

    def live() -> None:
        for binding in (CudaPython, PyCuda):
            cuda: Cuda = binding(0)
            try:
                with execution_of(plan, cuda) as execution:
                    for _ in range(6):
                        execution.infer(batch[:2])
                    execution.submit(batch[:1])
            finally:
                cuda.close()

    gpu.reset()
    live()
    calls = list(gpu.calls)
    outcomes = []
    for number, call in enumerate(calls):
        if call == "push context":
            continue  # a context that cannot be made current is gone, and all that was in it
        gpu.reset()
        gpu.fail_at(number)
        try:
            live()
        except EngineError as error:
            outcomes.append((call, error.fix))
        assert (gpu.live(), gpu.misuses) == ({}, []), f"call {number}, {call}"
    assert all(fix for _, fix in outcomes)
    raised = {call for call, _ in outcomes}
    assert {
        "allocate",
        "pinned",
        "stream",
        "event",
        "deserialize",
        "context",
        "enqueue",
        "copy",
        "launch",
        "wait event",
    } <= raised


def test_the_stand_in_notices_who_does_not_wait(tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda, monkeypatch: Any) -> None:
    """A proof of the stand-in: without the wait the answer is what lay there before."""
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        monkeypatch.setattr(cuda, "wait_event", lambda event: None)
        answer = execution.infer(batch)["logits"]
        assert not np.allclose(answer, on_cpu(tiny.file("float.onnx"), batch)["logits"])


def test_the_stand_in_notices_buffers_that_change_too_early(tiny: Bundle, batch: Batch, gpu: Gpu, cuda: Cuda) -> None:
    """Another: both sets of buffers thrown together."""
    with execution_of(plan_of(tiny, "float"), cuda) as execution:
        execution._sets[1] = execution._sets[0]
        spare = execution._sets[0].pending
        assert spare is None
        first = execution.submit(batch[:1])
        execution._sets[0].pending = None
        execution.submit(batch[1:2])
        execution._sets[0].pending = first
        assert not np.allclose(first.result()["logits"], on_cpu(tiny.file("float.onnx"), batch[:1])["logits"])
        execution._sets[0].pending = None
