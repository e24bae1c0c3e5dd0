"""ONNX Runtime's TensorRT provider, on a machine without it: what is asked of it, and that nothing else runs in its place."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tiny_bundle import make_tiny_bundle

from edgecell.bundle import Bundle, Encoding
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.engines.trt.driver import Device, Driver
from edgecell.errors import EngineBuildError, EngineError, MissingDependency

TENSORRT = OnnxRuntimeOptions(provider="tensorrt")
ORIN = Device(index=0, name="Orin", compute_capability="8.7", memory_bytes=8 << 30)
JETSON = Driver(version="12.6", devices=(ORIN,), platform="L4T 36.4.3")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("tensorrt"))


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgecell.engines.trt.driver.look", lambda: JETSON)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Session:
    """A stand-in for the session of an ONNX Runtime with TensorRT: keeps what was asked, and computes on the CPU."""

    asked: dict[str, Any]
    gives: tuple[str, ...] = ("TensorrtExecutionProvider", "CPUExecutionProvider")
    real = onnxruntime.InferenceSession

    def __init__(self, model: str, options: onnxruntime.SessionOptions, providers: list[Any], *, enable_fallback: int) -> None:
        ((name, given),) = providers
        type(self).asked = {"provider": name, "fallback": enable_fallback, **given}
        type(self).asked["cpu"] = options.get_session_config_entry("session.disable_cpu_ep_fallback")
        type(self).asked["level"] = options.graph_optimization_level
        self._session = self.real(model, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return list(self.gives)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch, jetson: None) -> type[Session]:
    """ONNX Runtime says that it has TensorRT."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*Session.gives])
    return Session


def engine(bundle: Bundle, options: OnnxRuntimeOptions = TENSORRT) -> OnnxRuntimeEngine:
    encoding = OnnxRuntimeEngine.encoding_of(bundle, options)
    return OnnxRuntimeEngine(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options)


def test_without_a_driver_nothing_is_loaded(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecell.engines.trt.driver.LIBRARY", "libcuda-of-no-machine.so.1")
    with pytest.raises(MissingDependency, match="no NVIDIA driver"), engine(tiny):
        pass


@pytest.mark.usefixtures("jetson")
def test_an_onnxruntime_without_the_provider_is_refused(tiny: Bundle) -> None:
    with pytest.raises(MissingDependency, match=r"has no TensorRT provider.*onnxruntime-gpu"), engine(tiny):
        pass


def test_the_q_dq_file_for_tensorrt_is_run_and_nothing_else(tiny: Bundle) -> None:
    assert OnnxRuntimeEngine.encoding_of(tiny, TENSORRT) == "s8s8"
    assert OnnxRuntimeEngine.encoding_of(tiny, OnnxRuntimeOptions(provider="tensorrt", encoding="fp16")) == "fp16"
    assert OnnxRuntimeEngine.encoding_of(tiny, OnnxRuntimeOptions()) == "u8s8"
    with pytest.raises(EngineError, match="zero points"):
        OnnxRuntimeEngine.encoding_of(tiny, OnnxRuntimeOptions(provider="tensorrt", encoding="u8s8"))


def test_tensorrt_is_asked_for_the_whole_model_as_written(tiny: Bundle, built_in: type[Session], tmp_path: Path) -> None:
    with engine(tiny) as opened:
        assert opened.description == f"onnxruntime {onnxruntime.__version__} tensorrt, Orin"
        channels, height, width = tiny.manifest.input.shape
        assert opened.infer(np.zeros((2, channels, height, width), np.float32))["logits"].shape[0] == 2
    asked = built_in.asked
    folder = Path(asked.pop("trt_engine_cache_path"))
    assert folder.parent == tmp_path / "edgecell/onnxruntime"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert asked.pop("trt_timing_cache_path") == str(folder)
    name, batch = tiny.manifest.input.name, tiny.manifest.input.batch
    size = "x".join(map(str, tiny.manifest.input.shape))
    assert asked == {
        "provider": "TensorrtExecutionProvider",
        "fallback": 0,
        "cpu": "1",
        "level": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        "trt_int8_enable": "1",
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": str(1024 << 20),
        "trt_engine_cache_enable": "1",
        "trt_timing_cache_enable": "1",
        "trt_profile_min_shapes": f"{name}:{batch.min}x{size}",
        "trt_profile_opt_shapes": f"{name}:{batch.opt}x{size}",
        "trt_profile_max_shapes": f"{name}:{batch.max}x{size}",
    }


@pytest.mark.parametrize(("encoding", "flags"), [("float", ("0", "0")), ("fp16", ("0", "1")), ("s8s8", ("1", "1"))])
def test_precision_is_that_of_the_file(tiny: Bundle, built_in: type[Session], encoding: Any, flags: tuple[str, str]) -> None:
    options = OnnxRuntimeOptions(provider="tensorrt", encoding=encoding)
    with OnnxRuntimeEngine(tiny.file("float.onnx"), manifest=tiny.manifest, options=options):
        assert (built_in.asked["trt_int8_enable"], built_in.asked["trt_fp16_enable"]) == flags


def test_every_model_driver_and_version_has_a_folder_of_its_own(
    tiny: Bundle, built_in: type[Session], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ONNX Runtime would take another model's plan for this one's, if only the weights differ."""
    folders = []
    newer = replace(JETSON, version="13.0")
    tried: list[tuple[Driver, Encoding]] = [(JETSON, "s8s8"), (JETSON, "float"), (newer, "s8s8")]
    for found, encoding in tried:
        monkeypatch.setattr("edgecell.engines.trt.driver.look", partial(replace, found))
        options = OnnxRuntimeOptions(provider="tensorrt", encoding=encoding, cache=tmp_path / "mine")
        with engine(tiny, options):
            folders.append(built_in.asked["trt_engine_cache_path"])
    assert len(set(folders)) == 3
    assert {Path(each).parent for each in folders} == {tmp_path / "mine"}


def test_a_session_that_left_tensorrt_out_is_refused(
    tiny: Bundle, built_in: type[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(built_in, "gives", ("CPUExecutionProvider",))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    with pytest.raises(EngineBuildError, match="left TensorRT out"), engine(tiny):
        pass
