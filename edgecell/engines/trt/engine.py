"""TensorRT on an NVIDIA device: the fastest way on a Jetson. It runs plans that `edgecell prepare` built and verified there.

Not yet verified on a GPU: all that is tested runs on stand-ins for the vendor's libraries.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell.bundle import Bundle, Encoding, Manifest
from edgecell.engines.trt import driver, library, plans
from edgecell.engines.trt.cuda import find_binding, open_cuda
from edgecell.engines.trt.execution import Answer, Execution
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.plans import Machine, Precision
from edgecell.errors import EdgecellError, EngineBuildError, InferenceError
from edgecell.protocols import Pending, Probe


class TensorRtOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """precision: of the plan that is run, null for the fastest one that was prepared.

    device: the GPU's number, as the driver counts. cache: folder of the plans, null for ~/.cache/edgecell/plans. workspace_mib:
    memory that a layer may take for itself, in MiB; asked for when a plan is built. cuda_graphs: launch batches of a size that
    comes back as one CUDA graph; only cuda-python can.
    """

    precision: Precision | None = None
    device: Annotated[int, msgspec.Meta(ge=0, le=63)] = 0
    cache: Path | None = None
    workspace_mib: Annotated[int, msgspec.Meta(ge=16, le=65536)] = 1024
    cuda_graphs: bool = True


class TensorRtEngine:
    """Runs the plan of one ONNX file. See `edgecell.protocols.OverlappingEngine`."""

    Options = TensorRtOptions

    def __init__(self, model: Path, *, manifest: Manifest | None = None, options: TensorRtOptions | None = None) -> None:
        """model: a file of a bundle. manifest: the bundle's; the shapes that the plan was built for follow from it."""
        self._model = model
        self._manifest = manifest
        self._options = options or TensorRtOptions()
        self._execution: Execution | None = None
        self._opened = ExitStack()
        self.description = "tensorrt"

    @classmethod
    def probe(cls) -> Probe:
        """Whether driver, TensorRT and a CUDA binding are there. Looks only: makes no context, takes no device memory."""
        version = ""
        try:
            found = driver.look()
            version = f"driver for CUDA {found.version}"
            vendor = library.find(found)
            version = f"tensorrt {vendor.text}"
            binding = find_binding(found.version)
        except EdgecellError as error:
            return Probe(usable=False, version=version, missing=f"{error.what}: {error.fix}")
        return Probe(usable=True, version=f"{version}, {binding.title} {binding.version()}")

    @classmethod
    def installed(cls) -> str:
        """Its version and the binding's, where it can be used, else ""."""
        probe = cls.probe()
        return probe.version if probe.usable else ""

    @classmethod
    def encoding_of(cls, bundle: Bundle, options: TensorRtOptions) -> Encoding:
        """The file that the plan was built from: the fastest one, or the one of the precision asked for.

        Raises MissingDependency, and EngineError where none is prepared.
        """
        _, machine = _look(options)
        return plans.chosen(bundle, machine, plans.folder_of(options.cache), options.precision).encoding

    def __enter__(self) -> Self:
        """Load the plan. Raises MissingDependency without driver, TensorRT or CUDA binding; EngineError without a plan of this
        model that was prepared on this machine; EngineBuildError for a plan that TensorRT refuses, or of another model;
        InferenceError when the device has not the memory."""
        if self._manifest is None:
            raise EngineBuildError(f"{self._model}: TensorRT runs models of bundles only", fix="use the engine onnxrt")
        with ExitStack() as stack:
            vendor, machine = _look(self._options)
            stored = plans.prepared(self._model, self._manifest, machine, plans.folder_of(self._options.cache))
            cuda = open_cuda(self._options.device, machine.driver)
            stack.callback(cuda.close)
            execution = Execution(vendor, stored.plan, cuda, graphs=self._options.cuda_graphs)
            try:
                stack.enter_context(execution)
            except EngineBuildError as error:
                raise EngineBuildError(f"{self._model}: {error.what}", fix=error.fix) from None
            self._check(execution, self._manifest)
            self._execution = execution
            self._opened = stack.pop_all()
        self.description = f"tensorrt {vendor.text} {stored.record.key.precision}, {machine.device}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._execution = None
        self._opened.close()

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """float32 (N, C, H, W) -> each output float32, N in front, owned by the caller. N may be 0. Raises InferenceError."""
        return self.submit(batch).result()

    def submit(self, batch: NDArray[np.float32]) -> Pending:
        """Start on a batch, at most two at a time. Raises InferenceError."""
        if self._execution is None or self._manifest is None:
            raise InferenceError(f"{self._model.name} is not open", fix="use the engine inside its `with` block")
        return _Listed(self._execution.submit(batch), self._manifest)

    def _check(self, execution: Execution, manifest: Manifest) -> None:
        """The plan has the manifest's input and outputs."""
        wanted = {each.name: each.shape for each in manifest.outputs}
        found = {name: shape for name, shape in execution.outputs.items() if name in wanted}
        if execution.input != manifest.input.name or found != wanted:
            has = f"the plan of {self._model} has input {execution.input} and outputs {execution.outputs}"
            raise EngineBuildError(
                f"{has}, not those of its manifest, {wanted}", fix="build the bundle again with the workshop"
            )


class _Listed:
    """The outputs that the manifest lists, in its order."""

    def __init__(self, answer: Answer, manifest: Manifest) -> None:
        self._answer, self._manifest = answer, manifest

    def result(self) -> Mapping[str, NDArray[np.float32]]:
        outputs = self._answer.result()
        return {each.name: outputs[each.name] for each in self._manifest.outputs}


def _look(options: TensorRtOptions) -> tuple[Library, Machine]:
    """The library, and the machine that plans are tied to. Raises MissingDependency, EngineError."""
    found = driver.look()
    vendor = library.find(found)
    return vendor, plans.machine_of(found, vendor, options.device)
