"""OpenVINO on the CPU, which some processors compute faster with than with ONNX Runtime. It runs the same encoding, `u8s8`.

Two habits of the library (2026.4) are met here. Importing it tells its vendor so over the network, by a package of its own,
which it can do without: so it gets none. And `infer` keeps quiet about an inference that failed: the answers of the batch
before stay where the new ones should be. So each output is spoilt before and looked at after.
"""

import sys
from collections.abc import Mapping
from importlib import metadata
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

TELLS = "openvino_telemetry"
"""The package by which importing OpenVINO tells its vendor of it."""
_GET_IT = 'pip install "edgecell[openvino]"'
_INT8 = frozenset({"i8", "u8"})
_LAYERS = frozenset({"Convolution", "FullyConnected", "MatMul", "Deconvolution"})
_ANY = -1


class OpenVinoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """encoding: which file of a bundle is run, null for `u8s8`; it comes first, so that `openvino:float` means it.

    threads: CPU threads of one inference, fixed, so that latency does not depend on what else the process runs.
    """

    encoding: Encoding | None = None
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class OpenVinoEngine:
    """Runs one ONNX file. See `edgecell.protocols.Engine`."""

    Options = OpenVinoOptions

    def __init__(self, model: Path, *, manifest: Manifest | None = None, options: OpenVinoOptions | None = None) -> None:
        """model: an ONNX file with one float32 input, its batch axis dynamic.

        manifest: what the model's names and shapes are checked against.
        """
        self._model = model
        self._manifest = manifest
        self._options = options or OpenVinoOptions()
        self._request: Any = None
        self._input: tuple[int, ...] = ()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.description = "openvino"

    @classmethod
    def probe(cls) -> Probe:
        """Whether openvino can be imported."""
        try:
            version = _library().__version__
        except ImportError as error:
            return Probe(usable=False, version="", missing=f"{error}: {_GET_IT}")
        return Probe(usable=True, version=str(version).partition("-")[0])

    @classmethod
    def installed(cls) -> str:
        """Its version as pip knows it, "" without one. Nothing is imported."""
        try:
            return metadata.version("openvino")
        except metadata.PackageNotFoundError:
            return ""

    @classmethod
    def encoding_of(cls, bundle: Bundle, options: OpenVinoOptions) -> Encoding:  # noqa: ARG003 an engine's convention
        """The encoding that was asked for, else `u8s8`."""
        return options.encoding or "u8s8"

    def __enter__(self) -> Self:
        """Load the model. Raises MissingDependency, or EngineBuildError when the file is no model that this engine can run."""
        try:
            ov = _library()
        except ImportError as error:
            raise MissingDependency(f"openvino does not load: {error}", fix=_GET_IT) from error
        try:
            compiled = ov.Core().compile_model(_read(self._model), "CPU", _settings(self._options.threads))
            inputs, outputs = compiled.inputs, compiled.outputs
        except _failures(ov) as error:
            fix = "check that the file is a whole ONNX model; copy the bundle again"
            raise EngineBuildError(f"openvino cannot load {self._model}: {_line(error)}", fix=fix) from error
        if not inputs:
            what = f"openvino cannot load {self._model}: there is no model in it"
            raise EngineBuildError(what, fix="copy the bundle again")
        self._input = _sizes(inputs[0])
        self._shapes = {self._name(each): tuple(0 if n == _ANY else n for n in _sizes(each)[1:]) for each in outputs}
        self._check_names({self._name(each) for each in inputs})
        self._request = compiled.create_infer_request()
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self.description = (
            f"openvino {self.probe().version} cpu, {threads} thread{'s' if threads > 1 else ''}, {_told(compiled)}"
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._request = None

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """float32 (N, C, H, W) -> each output float32, N in front, owned by the caller. N may be 0. Raises InferenceError."""
        if self._request is None:
            raise InferenceError(f"{self._model.name} is not open", fix="use the engine inside its `with` block")
        self._check_batch(batch)
        if not len(batch):
            return {name: np.zeros((0, *shape), dtype=np.float32) for name, shape in self._shapes.items()}
        for name in self._shapes:
            self._request.get_tensor(name).data.ravel()[:1] = np.nan  # a view: what is in memory is spoilt
        try:
            self._request.infer({0: np.ascontiguousarray(batch)}, share_inputs=True)
        except RuntimeError as error:
            raise _failed(batch, _line(error)) from error
        answers = {name: np.array(self._request.get_tensor(name).data, dtype=np.float32) for name in self._shapes}
        if any(len(each) != len(batch) or np.isnan(each.ravel()[:1]).any() for each in answers.values()):
            raise _failed(batch, "it gave no answer")
        return answers

    def _check_batch(self, batch: NDArray[np.float32]) -> None:
        """Shape and type, here, since a compiled model that an inference failed on answers nothing ever after."""
        multiple = self._manifest.input.multiple if self._manifest is not None else None
        fits = batch.ndim == len(self._input) and all(
            size in (wanted, _ANY) or wanted == _ANY for size, wanted in zip(batch.shape, self._input, strict=True)
        )
        if not fits or batch.dtype != np.float32 or any(size % (multiple or 1) for size in batch.shape[2:]):
            wanted = "x".join("any" if each == _ANY else str(each) for each in self._input)
            each = f", height and width in multiples of {multiple}" if multiple else ""
            raise _failed(batch, f"the model takes float32 {wanted}{each}")

    def _name(self, port: Any) -> str:
        """Of the names that an input or output goes by (several, where a conversion of type lies beside it) the manifest's."""
        spec = self._manifest
        listed = set() if spec is None else {spec.input.name, *(each.name for each in spec.outputs)}
        return next(iter(sorted(port.names & listed)), str(port.any_name))

    def _check_names(self, inputs: set[str]) -> None:
        """The model has the manifest's input and outputs; only those outputs are handed out."""
        if self._manifest is None:
            return
        wanted = {each.name: each.shape for each in self._manifest.outputs}
        found = {name: shape for name, shape in self._shapes.items() if name in wanted}
        if inputs != {self._manifest.input.name} or found != wanted:
            what = f"{self._model} has inputs {sorted(inputs)} and outputs {self._shapes}, not those of its manifest, {wanted}"
            raise EngineBuildError(what, fix="build the bundle again with the workshop")
        self._shapes = wanted


def _library() -> Any:
    """The package. Raises ImportError."""
    if "openvino" not in sys.modules:
        sys.modules[TELLS] = None  # type: ignore[assignment] # importing it fails, as if it were not installed
    import openvino

    return openvino


def _read(model: Path) -> Any:
    """By the reader of ONNX alone: asked for any format, OpenVINO tries all of them, some of which write to stderr."""
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework("onnx")
    return reader.convert(reader.load(str(model)))


def _failures(ov: Any) -> tuple[type[Exception], ...]:
    """What it raises: the exceptions of its readers are no RuntimeError, and share no base of their own."""
    own = (each for each in vars(ov.frontend).values() if isinstance(each, type) and issubclass(each, Exception))
    return (*own, RuntimeError)


def _settings(threads: int) -> dict[str, Any]:
    """One stream of fixed threads, and float layers in float32: by itself OpenVINO takes 16 bits where the processor has them.

    Threads are tied to no core: the kernel moves them where the other threads of the frame path leave room.
    """
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }


def _sizes(port: Any) -> tuple[int, ...]:
    """The shape of an input or output, _ANY for an axis that may have any size."""
    return tuple(each.get_length() if each.is_static else _ANY for each in port.get_partial_shape())


def _told(compiled: Any) -> str:
    """How many of the layers with weights are computed in INT8, as OpenVINO itself says of what it made of the model."""
    facts = [each.get_rt_info() for each in compiled.get_runtime_model().get_ops()]
    weighty = [each for each in facts if each["layerType"].astype(str) in _LAYERS]
    int8 = sum(each["runtimePrecision"].astype(str) in _INT8 for each in weighty)
    return f"{int8} of {len(weighty)} layers in INT8" if int8 else "float32"


def _failed(batch: NDArray[np.float32], why: str) -> InferenceError:
    fix = "give it float32 batches of the shape that the bundle's manifest states"
    return InferenceError(f"openvino failed on a batch {batch.dtype} {batch.shape}: {why}", fix=fix)


def _line(error: Exception) -> str:
    """What OpenVINO says, on one line."""
    return " ".join(str(error).split())
