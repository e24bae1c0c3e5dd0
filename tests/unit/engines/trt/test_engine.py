"""TensorRT's engine on stand-ins: what is missing, golden cells through the whole path, and that all is freed."""

import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest import StandInMachine
from gpu_stand_in import Gpu
from tiny_bundle import make_tiny_bundle, tiny_crops
from trt_stand_in_plan import store_plan

from edgecell.bundle import Bundle, Encoding, open_bundle
from edgecell.engines.trt import cuda as seam
from edgecell.engines.trt.engine import TensorRtEngine, TensorRtOptions
from edgecell.errors import EngineBuildError, EngineError, InferenceError, MissingDependency
from edgecell.golden import replay
from edgecell.preprocess import to_batch

NOWHERE = "edgecell.engines.trt.nowhere:Nothing"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def machine(stand_in_machine: StandInMachine, gpu: Gpu, tmp_path: Path) -> StandInMachine:
    stand_in_machine.patch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return stand_in_machine


def engine_of(bundle: Bundle, encoding: Encoding, **options: Any) -> TensorRtEngine:
    return TensorRtEngine(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=TensorRtOptions(**options))


@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
@pytest.mark.parametrize(
    ("version", "encoding"), [("8.6.1", "s8s8"), ("10.3.0", "float"), ("10.16.1.11", "fp16"), ("11.4.0.106", "s8s8")]
)
@pytest.mark.parametrize("name", ["pbc8", "cells3"])
def test_golden_cells_of_a_shipped_bundle_go_through_the_whole_path(
    name: str, version: str, encoding: Encoding, binding: str, machine: StandInMachine
) -> None:
    if binding == "pycuda":
        only_pycuda(machine)
    machine.tensorrt(version)
    bundle = open_bundle(name)
    record = store_plan(bundle, encoding)
    with engine_of(bundle, encoding) as engine:
        assert engine.description == f"tensorrt {version} {record.key.precision}, {record.key.device}"
        assert replay(bundle, engine, encoding).cells > 0


def only_pycuda(machine: StandInMachine) -> None:
    machine.patch.setattr(seam, "_BINDINGS", ("edgecell.engines.trt.pycuda_binding:PyCuda",))


def test_probe_names_what_is_there(machine: StandInMachine, gpu: Gpu) -> None:
    probe = TensorRtEngine.probe()
    assert (probe.usable, probe.missing) == (True, "")
    assert probe.version.startswith("tensorrt 10.3.0, cuda-python ")
    assert gpu.calls == [], "a look touches no device"
    only_pycuda(machine)
    assert TensorRtEngine.probe().version.startswith("tensorrt 10.3.0, pycuda ")


def test_probe_without_a_driver_says_so_and_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecell.engines.trt.driver.LIBRARY", "libcuda-not-there.so.1")
    monkeypatch.setattr("edgecell.engines.trt.library.find", lambda found: pytest.fail("looked for TensorRT without a driver"))
    probe = TensorRtEngine.probe()
    assert (probe.usable, probe.version) == (False, "")
    assert "no NVIDIA driver" in probe.missing


def test_probe_with_an_old_tensorrt_says_so(machine: StandInMachine) -> None:
    machine.tensorrt("8.4.1")
    assert "TensorRT 8.4.1" in TensorRtEngine.probe().missing


def test_probe_with_a_tensorrt_that_does_not_load_says_so(machine: StandInMachine) -> None:
    machine.tensorrt("10.3.0", fault="import")
    assert "does not load" in TensorRtEngine.probe().missing


def test_without_a_cuda_binding_both_ways_to_get_one_are_named(machine: StandInMachine, tiny: Bundle) -> None:
    store_plan(tiny, "s8s8")
    for name in ("cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver"):
        machine.patch.setitem(sys.modules, name, None)
    probe = TensorRtEngine.probe()
    assert not probe.usable
    assert probe.version == "tensorrt 10.3.0"
    for text in ("edgecell[cuda]", "edgecell[pycuda]", "export CPATH=/usr/local/cuda/include"):
        assert text in probe.missing
    with pytest.raises(MissingDependency, match=r"no CUDA binding.*Fix: .*edgecell\[cuda\]"):
        engine_of(tiny, "s8s8").__enter__()


def test_a_binding_for_a_newer_cuda_than_the_driver_s_is_of_no_use(machine: StandInMachine, tiny: Bundle) -> None:
    import cuda.bindings

    machine.patch.setattr(cuda.bindings, "__version__", "13.5.0")
    assert ", pycuda " in TensorRtEngine.probe().version
    machine.patch.setitem(sys.modules, "pycuda", None)
    probe = TensorRtEngine.probe()
    assert not probe.usable
    assert "13.5.0 is for a newer CUDA than 12.6, which the driver supports: pip install 'cuda-bindings<13'" in probe.missing
    store_plan(tiny, "s8s8")
    with pytest.raises(MissingDependency, match="cuda-bindings<13"):
        engine_of(tiny, "s8s8").__enter__()
    machine.driver(version=13000)
    assert ", cuda-python 13.5.0" in TensorRtEngine.probe().version


def test_without_a_plan_the_fix_is_to_prepare(machine: StandInMachine, tiny: Bundle, gpu: Gpu) -> None:
    with pytest.raises(EngineError, match=r"Fix: .*edgecell prepare"):
        engine_of(tiny, "s8s8").__enter__()
    with pytest.raises(EngineError, match=r"Fix: .*edgecell prepare"):
        TensorRtEngine.encoding_of(tiny, TensorRtOptions())
    assert gpu.calls == [], "the device is not touched before there is something to run"


def test_the_fastest_plan_is_run_unless_another_precision_is_asked_for(machine: StandInMachine, tiny: Bundle) -> None:
    store_plan(tiny, "s8s8", p50_ms=2.0)
    store_plan(tiny, "float", p50_ms=1.0)
    assert TensorRtEngine.encoding_of(tiny, TensorRtOptions()) == "float"
    assert TensorRtEngine.encoding_of(tiny, TensorRtOptions(precision="int8")) == "s8s8"
    with engine_of(tiny, "float") as engine:
        assert " fp16, " in engine.description


def test_plans_lie_in_the_folder_that_is_asked_for(machine: StandInMachine, tiny: Bundle, tmp_path: Path) -> None:
    store_plan(tiny, "s8s8", tmp_path / "elsewhere")
    with engine_of(tiny, "s8s8", cache=tmp_path / "elsewhere") as engine:
        assert replay(tiny, engine, "s8s8").cells > 0
    with pytest.raises(EngineError, match="edgecell prepare"):
        engine_of(tiny, "s8s8").__enter__()


def test_a_device_that_is_not_there_is_named(machine: StandInMachine, tiny: Bundle) -> None:
    with pytest.raises(EngineError, match="no CUDA device 2, only 1"):
        engine_of(tiny, "s8s8", device=2).__enter__()


def test_the_device_that_is_asked_for_is_used(machine: StandInMachine, tiny: Bundle, gpu: Gpu) -> None:
    machine.driver(devices=2)
    gpu.reset(devices=2)
    store_plan(tiny, "s8s8", device=1)
    with engine_of(tiny, "s8s8", device=1) as engine:
        assert {each.device for each in gpu.memory.values()} == {1}
        assert replay(tiny, engine, "s8s8").cells > 0
    assert gpu.device == 0


def test_graphs_can_be_switched_off(machine: StandInMachine, tiny: Bundle, gpu: Gpu) -> None:
    store_plan(tiny, "s8s8")
    batch = to_batch(tiny_crops(2), tiny.manifest.preprocess)
    for graphs in (False, True):
        with engine_of(tiny, "s8s8", cuda_graphs=graphs) as engine:
            for _ in range(6):
                engine.infer(batch)
        assert (gpu.launches > 0) == graphs


def test_a_plan_that_tensorrt_refuses_names_the_model(machine: StandInMachine, tiny: Bundle, gpu: Gpu, caplog: Any) -> None:
    """What the library says is in the error, and not on stderr."""
    store_plan(tiny, "s8s8")
    gpu.fail("deserialize")
    with caplog.at_level(logging.INFO), pytest.raises(EngineBuildError, match=r"s8s8\.onnx: .*refuses the plan: Error Code 1"):
        engine_of(tiny, "s8s8").__enter__()
    assert not caplog.records


def test_an_engine_that_does_not_open_leaves_nothing(machine: StandInMachine, tiny: Bundle, gpu: Gpu) -> None:
    """Looked at while the error is still on its way, and its traceback alive."""
    store_plan(tiny, "s8s8")
    logits, features = tiny.manifest.outputs
    other = msgspec.structs.replace(tiny.manifest, outputs=(logits, msgspec.structs.replace(features, name="embedding")))
    with pytest.raises(EngineBuildError, match="embedding") as caught:
        TensorRtEngine(tiny.file("s8s8.onnx"), manifest=other).__enter__()
    assert caught.value.__traceback__ is not None
    assert (gpu.live(), gpu.misuses) == ({}, [])
    gpu.memory_bytes = 1000
    with pytest.raises(InferenceError, match="Memory"):
        engine_of(tiny, "s8s8").__enter__()
    assert (gpu.live(), gpu.misuses) == ({}, [])


def test_an_error_inside_the_with_block_frees_all(machine: StandInMachine, tiny: Bundle, gpu: Gpu) -> None:
    store_plan(tiny, "s8s8")

    def use() -> None:
        with engine_of(tiny, "s8s8") as engine:
            engine.submit(to_batch(tiny_crops(2), tiny.manifest.preprocess))
            engine.infer(np.zeros((1, 3, 5, 5), np.float32))

    with pytest.raises(InferenceError, match="does not fit") as caught:
        use()
    assert caught.value.__traceback__ is not None
    assert (gpu.live(), gpu.misuses) == ({}, [])
