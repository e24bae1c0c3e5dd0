"""What each CUDA binding must do behind `edgecell.engines.trt.cuda.Cuda`, on stand-ins for the bindings and for the GPU."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pytest
from gpu_stand_in import Gpu

from edgecell.engines.trt.cuda import Bytes, Cuda
from edgecell.engines.trt.cuda_python import CudaPython
from edgecell.engines.trt.pycuda_binding import PyCuda
from edgecell.errors import InferenceError

BINDINGS: dict[str, Callable[[int], Cuda]] = {"cuda-python": CudaPython, "pycuda": PyCuda}
SIZE = 1000
_Value = TypeVar("_Value")


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest, gpu: Gpu) -> Callable[[int], Cuda]:
    return BINDINGS[request.param]


@pytest.fixture
def cuda(binding: Callable[[int], Cuda]) -> Iterator[Cuda]:
    opened = binding(0)
    yield opened
    opened.close()


def on_another_thread(work: Callable[[], _Value]) -> _Value:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def numbers(host: Bytes) -> Bytes:
    return np.arange(host.size, dtype=np.uint8)


def test_it_says_what_it_is(binding: Callable[[int], Cuda], cuda: Cuda) -> None:
    (name,) = (name for name, each in BINDINGS.items() if each is binding)
    assert cuda.name.startswith(f"{name} ")


def test_bytes_go_to_the_device_and_back(cuda: Cuda, gpu: Gpu) -> None:
    with cuda.current():
        stream, address = cuda.stream(), cuda.allocate(SIZE)
        there, back = cuda.pinned(SIZE), cuda.pinned(SIZE)
        assert (there.dtype.str, there.shape, address % 256) == ("|u1", (SIZE,), 0)
        there[:] = numbers(there)
        cuda.to_device(address, there, stream)
        cuda.to_host(back, address, stream)
        assert not np.array_equal(back, there), "nothing is done before somebody waits"
        cuda.wait_stream(stream)
        np.testing.assert_array_equal(back, there)
        assert {"memory", "pinned", "streams"} <= gpu.live().keys()
        cuda.free(address)
        cuda.free_pinned(there)
        cuda.free_pinned(back)
        cuda.free_stream(stream)


def test_a_part_of_the_bytes_is_copied(cuda: Cuda) -> None:
    with cuda.current():
        stream, address, host = cuda.stream(), cuda.allocate(SIZE), cuda.pinned(SIZE)
        host[:] = numbers(host)
        cuda.to_device(address, host[:10], stream)
        cuda.wait_stream(stream)
        host[:] = 7
        cuda.to_host(host[:20], address, stream)
        cuda.wait_stream(stream)
        assert (host[:10] == np.arange(10)).all()
        assert not (host[10:20] == np.arange(10, 20)).any()
        assert (host[20:] == 7).all()
        cuda.free(address)
        cuda.free_pinned(host)
        cuda.free_stream(stream)


def test_an_event_happens_after_what_was_before_it(cuda: Cuda) -> None:
    with cuda.current():
        stream, event, address, host = cuda.stream(), cuda.event(), cuda.allocate(SIZE), cuda.pinned(SIZE)
        host[:] = 1
        cuda.to_device(address, host, stream)
        cuda.record(event, stream)
        cuda.wait_event(event)
        host[:] = 2
        cuda.to_host(host, address, stream)
        cuda.record(event, stream)
        assert host[0] == 2
        cuda.wait_event(event)
        assert host[0] == 1
        cuda.free_event(event)
        cuda.free(address)
        cuda.free_pinned(host)
        cuda.free_stream(stream)


def test_two_timed_events_tell_the_time_between_them(cuda: Cuda) -> None:
    with cuda.current():
        stream, first, last = cuda.stream(), cuda.event(timed=True), cuda.event(timed=True)
        cuda.record(first, stream)
        cuda.record(last, stream)
        cuda.wait_event(last)
        assert 0 <= cuda.elapsed_ms(first, last) < 1000
        cuda.free_event(first)
        cuda.free_event(last)
        cuda.free_stream(stream)


def test_it_may_be_used_on_another_thread_than_it_was_opened_on(binding: Callable[[int], Cuda], gpu: Gpu) -> None:
    gpu.reset(devices=2)
    cuda = binding(1)

    def work() -> int:
        with cuda.current():
            stream, address, host = cuda.stream(), cuda.allocate(SIZE), cuda.pinned(SIZE)
            assert gpu.memory[address].device == 1
            cuda.to_device(address, host, stream)
            cuda.wait_stream(stream)
            cuda.free(address)
            cuda.free_pinned(host)
            cuda.free_stream(stream)
        return gpu.device

    assert on_another_thread(work) == 0, "the thread has the device back that it had before"
    cuda.close()


def test_two_may_be_open_and_nested(binding: Callable[[int], Cuda], gpu: Gpu) -> None:
    gpu.reset(devices=2)
    first, second = binding(0), binding(1)
    with first.current():
        outer = first.allocate(SIZE)
        with second.current(), first.current(), second.current():
            inner = second.allocate(SIZE)
            second.free(inner)
        first.free(outer)
    second.close()
    first.close()


def test_a_device_that_is_not_there_is_an_error(binding: Callable[[int], Cuda]) -> None:
    with pytest.raises(InferenceError, match="InvalidDevice"):
        binding(3)


def test_out_of_memory_says_what_to_do(cuda: Cuda, gpu: Gpu) -> None:
    gpu.memory_bytes = SIZE
    with cuda.current():
        with pytest.raises(InferenceError, match=r"Memory.*Fix: .*nvidia-smi"):
            cuda.allocate(SIZE + 1)
        cuda.free(cuda.allocate(SIZE))


def test_a_binding_for_a_newer_cuda_than_the_driver_s_says_which_to_install(gpu: Gpu) -> None:
    gpu.fail("get device", name="cudaErrorInsufficientDriver")
    with pytest.raises(InferenceError, match=r"Fix: .*cuda-bindings<13.*JetPack 6.*cuda-python==12\.6"):
        CudaPython(0)


@pytest.mark.parametrize("call", ["stream", "event", "pinned"])
def test_what_fails_is_an_error_of_edgecell(cuda: Cuda, gpu: Gpu, call: str) -> None:
    gpu.fail(call)
    with cuda.current(), pytest.raises(InferenceError, match=r"CUDA: cu\w+ failed: .*Fix: "):
        _ = cuda.pinned(SIZE) if call == "pinned" else getattr(cuda, call)()


def test_what_cannot_be_freed_is_logged_not_raised(cuda: Cuda, gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), cuda.current():
        address = cuda.allocate(SIZE)
        gpu.fail("free")
        cuda.free(address)
    assert "Free failed" in caplog.text


@pytest.fixture
def with_graphs(cuda: Cuda) -> Cuda:
    if not cuda.graphs:
        pytest.skip(f"{cuda.name} has no graphs")
    return cuda


def test_a_graph_repeats_what_was_captured(with_graphs: Cuda) -> None:
    cuda = with_graphs
    with cuda.current():
        stream, address, there, back = cuda.stream(), cuda.allocate(SIZE), cuda.pinned(SIZE), cuda.pinned(SIZE)
        cuda.begin_capture(stream)
        cuda.to_device(address, there, stream)
        cuda.to_host(back, address, stream)
        graph = cuda.end_capture(stream)
        for value in (1, 2):
            there[:], back[:] = value, 0
            cuda.wait_stream(stream)
            assert back[0] == 0, "a capture does nothing by itself"
            cuda.launch(graph, stream)
            cuda.wait_stream(stream)
            assert (back == value).all()
        cuda.free_graph(graph)
        cuda.free(address)
        cuda.free_pinned(there)
        cuda.free_pinned(back)
        cuda.free_stream(stream)


@pytest.mark.parametrize("call", ["end capture", "instantiate"])
def test_a_stream_leaves_a_capture_that_fails(with_graphs: Cuda, gpu: Gpu, call: str) -> None:
    cuda = with_graphs
    with cuda.current():
        stream = cuda.stream()
        cuda.begin_capture(stream)
        gpu.fail(call)
        with pytest.raises(InferenceError):
            cuda.end_capture(stream)
        cuda.wait_stream(stream)
        cuda.free_stream(stream)


def test_without_graphs_a_capture_says_so(gpu: Gpu) -> None:
    cuda = PyCuda(0)
    assert not cuda.graphs
    with cuda.current():
        stream = cuda.stream()
        with pytest.raises(InferenceError, match="no CUDA graphs"):
            cuda.begin_capture(stream)
        cuda.free_stream(stream)
    cuda.close()
