"""ONNX Runtime on the CPU: the engine that every machine has. It runs the bundle's `u8s8` encoding on x86 and ARM alike."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.bundle import Bundle, Encoding, Manifest
from edgecell.errors import EngineBuildError, InferenceError, MissingDependency
from edgecell.protocols import Probe

_FATAL = 4  # OrtLoggingLevel: whatever goes wrong also comes as an exception; stderr stays ours


class OnnxRuntimeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """encoding: which file of a bundle is run, null for the one made for CPUs, `u8s8`.

    threads: CPU threads of one inference, fixed, so that latency does not depend on what else the process runs.

    optimise: graph optimisation. Off, a Q/DQ graph is computed as written, in float between quantization steps: exact fake
    quantization, which is how the workshop evaluates `s8s8` (its optimised AVX2 kernels saturate at 16 bit). null: on, but for
    the encoding `s8s8`.
    """

    encoding: Encoding | None = None
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    optimise: bool | None = None


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
        self.description = f"onnxruntime cpu, {_threads(self._options.threads)}"

    @classmethod
    def probe(cls) -> Probe:
        """Whether onnxruntime can be imported."""
        try:
            import onnxruntime
        except ImportError as error:
            return Probe(usable=False, version="", missing=f"{error}: pip install onnxruntime")
        return Probe(usable=True, version=str(onnxruntime.__version__))

    @classmethod
    def encoding_of(cls, bundle: Bundle, options: OnnxRuntimeOptions) -> Encoding:  # noqa: ARG003 an engine's convention
        """The encoding that was asked for, else the one made for CPUs."""
        return options.encoding or "u8s8"

    def __enter__(self) -> Self:
        """Load the model. Raises MissingDependency, or EngineBuildError when the file is no model that this engine can run."""
        try:
            import onnxruntime as ort
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        except ImportError as error:
            raise MissingDependency(f"onnxruntime does not load: {error}", fix="pip install onnxruntime") from error
        self._failures = _failures(state)
        try:
            self._session = ort.InferenceSession(
                str(self._model), _session_options(ort, self._options), ["CPUExecutionProvider"]
            )
        except self._failures as error:
            fix = "check that the file is a whole ONNX model; copy the bundle again"
            raise EngineBuildError(f"onnxruntime cannot load {self._model}: {_line(error)}", fix=fix) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input = inputs[0].name
        self._shapes = {each.name: tuple(n if isinstance(n, int) else 0 for n in each.shape[1:]) for each in outputs}
        self._check_names({each.name for each in inputs})
        self.description = f"onnxruntime {ort.__version__} cpu, {_threads(self._options.threads)}"
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
    optimise = options.encoding != "s8s8" if options.optimise is None else options.optimise
    session.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    return session


def _failures(state: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its exceptions share no base of their own, and the list grows with its versions."""
    own = (each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception))
    return (*own, RuntimeError, ValueError)


def _line(error: Exception) -> str:
    """What ONNX Runtime says on one line: some of its versions end theirs with a line break."""
    return " ".join(str(error).split())


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
