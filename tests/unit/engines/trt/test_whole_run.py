"""`edgecell prepare`, `run` and `verify` with TensorRT's engine on the stand-ins, as a user calls them.

A run opens its engines on one thread and uses them on others, segmenter and classifier at the same time.
"""

from pathlib import Path

import pytest
from command_line import Ended, called
from conftest import StandInMachine
from gpu_stand_in import Gpu
from trt_stand_in_plan import store_plan

from edgecell.bundle import open_bundle
from edgecell.engines.trt.engine import TensorRtEngine
from edgecell.golden import replay

RUN = ("run", "--source", "phantom:seed=5,width=640,height=480", "--max-frames", 3, "--no-journal", "--json")


@pytest.fixture
def machine(stand_in_machine: StandInMachine, gpu: Gpu, tmp_path: Path) -> StandInMachine:
    stand_in_machine.patch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return stand_in_machine


def run(tmp_path: Path, engine: str) -> Ended:
    return called(*RUN, "--engine", engine, "--publish", f"ipc://{tmp_path}/{engine[:4]}.sock")


@pytest.mark.parametrize("binding", ["cuda-python", "pycuda"])
def test_a_run_counts_what_the_same_models_count_on_the_processor(
    binding: str, machine: StandInMachine, gpu: Gpu, tmp_path: Path
) -> None:
    if binding == "pycuda":
        machine.patch.setattr("edgecell.engines.trt.cuda._BINDINGS", ("edgecell.engines.trt.pycuda_binding:PyCuda",))
    for name in ("pbc8", "cells3"):
        store_plan(open_bundle(name), "s8s8")
    device, processor = run(tmp_path, "trt"), run(tmp_path, "onnxrt:s8s8")
    assert (device.code, processor.code) == (0, 0), device.err + processor.err
    ours, theirs = ([each for each in ended.documents if "models" in each][-1] for ended in (device, processor))
    assert {model["role"] for model in ours["models"]} == {"nucleated", "segmenter"}
    assert all(model["engine"] == "tensorrt 10.3.0 int8, Stand-in device 0" for model in ours["models"])
    assert ours["cells_total"] > 20
    for name in ("cumulative", "unsure", "excluded", "cells_total", "pixel_um"):
        assert ours[name] == theirs[name]
    assert (gpu.live(), gpu.misuses) == ({}, [])


def test_a_device_that_fails_in_the_middle_ends_the_run_with_one_line(
    machine: StandInMachine, gpu: Gpu, tmp_path: Path
) -> None:
    for name in ("pbc8", "cells3"):
        bundle = open_bundle(name)
        store_plan(bundle, "s8s8")
        with TensorRtEngine(bundle.file("s8s8.onnx"), manifest=bundle.manifest) as engine:
            replay(bundle, engine, "s8s8")
    golden = gpu.calls.count("wait event")
    gpu.reset()
    gpu.fail("wait event", after=golden + 1, name="cudaErrorIllegalAddress")
    ended = run(tmp_path, "trt")
    assert ended.code == 6
    assert ended.err.splitlines()[-1].startswith("edgecell: error: CUDA: ")
    assert "cudaErrorIllegalAddress" in ended.err
    assert len(ended.err.splitlines()) < 8, "what cannot be freed any more is not told one by one"
    assert "Traceback" not in ended.err
    assert (gpu.live(), gpu.misuses) == ({}, [])


def test_what_is_prepared_is_run_and_compared(machine: StandInMachine, gpu: Gpu) -> None:
    prepared = called("prepare", "bloodmnist28")
    assert prepared.code == 0, prepared.err
    verified = called("verify", "trt:int8", "onnxrt:s8s8", "--bundle", "bloodmnist28")
    assert verified.code == 0, verified.out + verified.err
    assert "tensorrt 10.3.0 int8" in verified.out + verified.err
    assert (gpu.live(), gpu.misuses) == ({}, [])
