"""ONNX Runtime on the CPU: the engine that every machine has. It runs the bundle's `u8s8` encoding on x86 and ARM alike.

Where ONNX Runtime was built with its TensorRT provider (JetPack images, `onnxruntime-gpu`), `provider = "tensorrt"` has that
run the whole of `s8s8` instead. See `edgecell.engines.trt` for the engine that needs no ONNX Runtime for it.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.bundle import Bundle, Encoding, InputSpec, Manifest, sha256_of
from edgecell.engines.trt import driver
from edgecell.errors import EngineBuildError, EngineError, InferenceError, MissingDependency
from edgecell.protocols import Probe

_TENSORRT = "TensorrtExecutionProvider"
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_FATAL = 4  # OrtLoggingLevel: whatever goes wrong also comes as an exception; stderr stays ours


class OnnxRuntimeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """encoding: which file of a bundle is run, null for the one made for the provider: `u8s8` on the CPU, `s8s8` for TensorRT;
    it comes first, so that `onnxrt:float` means it. provider: what computes.

    threads: CPU threads of one inference, fixed, so that latency does not depend on what else the process runs.

    optimise: graph optimisation. Off, a Q/DQ graph is computed as written, in float between quantization steps: exact fake
    quantization, which is how the workshop evaluates `s8s8` (its optimised AVX2 kernels saturate at 16 bit). null: on, but for
    the encoding `s8s8`.

    cache: folder for what TensorRT builds, null for ~/.cache/edgecell/onnxruntime. workspace_mib: device memory that it may
    use to build.
    """

    encoding: Encoding | None = None
    provider: Literal["cpu", "tensorrt"] = "cpu"
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    optimise: bool | None = None
    cache: Path | None = None
    workspace_mib: Annotated[int, msgspec.Meta(ge=16)] = 1024


class OnnxRuntimeEngine:
    """Runs one ONNX file. See `edgecell.protocols.Engine`."""

    Options = OnnxRuntimeOptions

    def __init__(self, model: Path, *, manifest: Manifest | None = None, options: OnnxRuntimeOptions | None = None) -> None:
        """model: an ONNX file with one float32 input, its batch axis dynamic.

        manifest: what the model's names and shapes are checked against.
        """
        self._model = model
        self._manifest = manifest
        self._options = options or OnnxRuntimeOptions()
        self._session: Any = None
        self._failures: tuple[type[Exception], ...] = ()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._input = ""
        self.description = f"onnxruntime {self._options.provider}, {_threads(self._options.threads)}"

    @classmethod
    def probe(cls) -> Probe:
        """Whether onnxruntime can be imported."""
        try:
            import onnxruntime
        except ImportError as error:
            return Probe(usable=False, version="", missing=f"{error}: pip install onnxruntime")
        return Probe(usable=True, version=str(onnxruntime.__version__))

    @classmethod
    def installed(cls) -> str:
        """Its version as pip knows it, whatever the package is called here; "" without one. Nothing is imported."""
        for package in _PACKAGES:
            with contextlib.suppress(metadata.PackageNotFoundError):
                return metadata.version(package)
        return ""

    @classmethod
    def encoding_of(cls, bundle: Bundle, options: OnnxRuntimeOptions) -> Encoding:  # noqa: ARG003 an engine's convention
        """The encoding that was asked for, else the one made for the provider. Raises EngineError: it cannot run it."""
        if options.provider == "cpu":
            return options.encoding or "u8s8"
        if options.encoding == "u8s8":
            raise EngineError('TensorRT cannot run encoding "u8s8": it has zero points', fix="leave `encoding` out of [engine]")
        return options.encoding or "s8s8"

    def __enter__(self) -> Self:
        """Load the model. Raises MissingDependency, or EngineBuildError when the file is no model that this engine can run."""
        try:
            import onnxruntime as ort
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        except ImportError as error:
            raise MissingDependency(f"onnxruntime does not load: {error}", fix="pip install onnxruntime") from error
        self._failures = _failures(state)
        options, on = self._options, f"cpu, {_threads(self._options.threads)}"
        providers: list[Any] = ["CPUExecutionProvider"]
        fix = "check that the file is a whole ONNX model; copy the bundle again"
        if options.provider == "tensorrt":
            device = driver.look()  # before the library, which crashes the process without one
            providers, on = (
                [_tensorrt(ort, self._model, self._manifest, options, device)],
                f"tensorrt, {device.devices[0].name}",
            )
            fix = 'see that this onnxruntime was built for the TensorRT and CUDA installed here; or `provider = "cpu"`'
        try:
            self._session = ort.InferenceSession(str(self._model), _session_options(ort, options), providers, enable_fallback=0)
        except self._failures as error:
            raise EngineBuildError(f"onnxruntime cannot load {self._model}: {_line(error)}", fix=fix) from error
        if options.provider == "tensorrt" and self._session.get_providers()[:1] != [_TENSORRT]:
            raise EngineBuildError(f"onnxruntime has left TensorRT out for {self._model}", fix=fix)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input = inputs[0].name
        self._shapes = {each.name: tuple(n if isinstance(n, int) else 0 for n in each.shape[1:]) for each in outputs}
        self._check_names({each.name for each in inputs})
        self.description = f"onnxruntime {ort.__version__} {on}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._session = None

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """float32 (N, C, H, W) -> each output float32, N in front, owned by the caller. N may be 0. Raises InferenceError."""
        if self._session is None:
            raise InferenceError(f"{self._model.name} is not open", fix="use the engine inside its `with` block")
        if batch.shape[:1] == (0,):
            return {name: np.zeros((0, *shape), dtype=np.float32) for name, shape in self._shapes.items()}
        try:
            answers = self._session.run(list(self._shapes), {self._input: np.ascontiguousarray(batch)})
        except self._failures as error:
            fix = "give it float32 batches of the shape that the bundle's manifest states"
            raise InferenceError(
                f"onnxruntime failed on a batch {batch.dtype} {batch.shape}: {_line(error)}", fix=fix
            ) from error
        return {name: np.asarray(answer, dtype=np.float32) for name, answer in zip(self._shapes, answers, strict=True)}

    def _check_names(self, inputs: set[str]) -> None:
        """The model has the manifest's input and outputs; only those outputs are computed."""
        if self._manifest is None:
            return
        wanted = {each.name: each.shape for each in self._manifest.outputs}
        found = {name: shape for name, shape in self._shapes.items() if name in wanted}
        if inputs != {self._manifest.input.name} or found != wanted:
            what = f"{self._model} has inputs {sorted(inputs)} and outputs {self._shapes}, not those of its manifest, {wanted}"
            raise EngineBuildError(what, fix="build the bundle again with the workshop")
        self._shapes = wanted


def _session_options(ort: Any, options: OnnxRuntimeOptions) -> Any:
    """Sequential, fixed threads, and no spinning: idle threads must not burn the cores that capture and segmentation need."""
    session = ort.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.inter_op_num_threads = 1
    session.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    session.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session.log_severity_level = _FATAL
    level = ort.GraphOptimizationLevel
    optimise = options.optimise
    if optimise is None:
        optimise = options.encoding != "s8s8" and options.provider == "cpu"
    if options.provider == "tensorrt":
        session.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # all of the model, or an error
    session.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    return session


def _tensorrt(
    ort: Any, model: Path, manifest: Manifest | None, options: OnnxRuntimeOptions, found: driver.Driver
) -> tuple[str, dict[str, str]]:
    """The provider with its options, as text, in ONNX Runtime's names. Raises MissingDependency where it is not built in.

    ONNX Runtime names what it keeps by the model's structure, not by its weights, so every model has a folder of its own.
    """
    if _TENSORRT not in ort.get_available_providers():
        what = f"onnxruntime {ort.__version__} has no TensorRT provider"
        raise MissingDependency(
            what, fix="use the onnxruntime-gpu of the JetPack image, in place of onnxruntime; or `--engine trt`"
        )
    tied = [sha256_of(model), ort.__version__, found.version, found.platform, found.devices[0].compute_capability]
    folder = _cache(options) / f"{model.stem}-{hashlib.sha256(repr(tied).encode()).hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what lies there is run
    except OSError as error:
        raise EngineBuildError(
            f"{folder} cannot be made: {error}", fix="set `cache` in [engine] to a folder of yours"
        ) from error
    encoding = options.encoding or model.stem
    asked = {
        "trt_int8_enable": encoding == "s8s8",
        "trt_fp16_enable": encoding in {"s8s8", "fp16"},
        "trt_max_workspace_size": options.workspace_mib << 20,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": folder,
    }
    if manifest is not None:
        asked |= _shapes(manifest.input)
    return _TENSORRT, {name: str(int(value) if isinstance(value, bool) else value) for name, value in asked.items()}


def _shapes(spec: InputSpec) -> dict[str, str]:
    """The shapes (N, C, H, W) that the input may have: the smallest, the one to be fastest at, the largest."""
    channels, *most = spec.shape
    least = [spec.multiple] * 2 if spec.multiple else most
    sizes = {"min": [spec.batch.min, *least], "opt": [spec.batch.opt, *(spec.usual or most)], "max": [spec.batch.max, *most]}
    return {
        f"trt_profile_{which}_shapes": f"{spec.name}:{'x'.join(map(str, [count, channels, *size]))}"
        for which, (count, *size) in sizes.items()
    }


def _cache(options: OnnxRuntimeOptions) -> Path:
    """The folder asked for, else $XDG_CACHE_HOME/edgecell/onnxruntime, by default ~/.cache/edgecell/onnxruntime."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return options.cache or base / "edgecell" / "onnxruntime"


def _failures(state: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its exceptions share no base of their own, and the list grows with its versions."""
    own = (each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception))
    return (*own, RuntimeError, ValueError)


def _line(error: Exception) -> str:
    """What ONNX Runtime says on one line: some of its versions end theirs with a line break."""
    return " ".join(str(error).split())


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
