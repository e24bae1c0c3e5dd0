"""What TensorRT's versions do differently while a plan is built: one function for each way, marked with the versions it serves.

`Library.pick` chooses among those of one group; see `edgecell.engines.trt.library` for what the marks promise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgecell.engines.trt.library import serves
from edgecell.engines.trt.onnxnodes import node_text
from edgecell.engines.trt.request import Precision
from edgecell.engines.trt.vendor import TensorRt

if TYPE_CHECKING:
    import tensorrt

Report = Callable[[str, int, int], None]
"""phase, step, steps: see `edgecell.engines.trt.request.Progress`."""


@serves(since=(8, 6), until=(10, 0))
def explicit_batch(trt: TensorRt, builder: tensorrt.Builder) -> tensorrt.INetworkDefinition:
    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))


@serves(since=(10, 0), until=(10, 12))
def weakly_typed(_trt: TensorRt, builder: tensorrt.Builder) -> tensorrt.INetworkDefinition:
    """The batch is always explicit from 10 on."""
    return builder.create_network(0)


@serves(since=(10, 12), until=(11, 0))
def strongly_typed(trt: TensorRt, builder: tensorrt.Builder) -> tensorrt.INetworkDefinition:
    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


@serves(since=(11, 0))
def always_strongly_typed(_trt: TensorRt, builder: tensorrt.Builder) -> tensorrt.INetworkDefinition:
    """There is no other kind from 11 on."""
    return builder.create_network(0)


@serves(since=(8, 6), until=(10, 12))
def allowed(trt: TensorRt, config: tensorrt.IBuilderConfig, precision: Precision) -> None:
    """Under weak typing flags allow what is below float32. INT8 layers keep FP16 ones between them."""
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if precision in {"int8", "fp16"}:
        config.set_flag(trt.BuilderFlag.FP16)


@serves(since=(10, 12))
def as_the_model_says(_trt: TensorRt, _config: tensorrt.IBuilderConfig, _precision: Precision) -> None:
    """Under strong typing the model's own types decide; there is nothing to allow."""


@serves(since=(8, 6), until=(10, 0))
def without_other_libraries(trt: TensorRt, config: tensorrt.IBuilderConfig) -> None:
    """Plans without cuBLAS and cuDNN, whose handles cost a device of 8 GB some hundred MB: as 10 and later have it."""
    others = (trt.TacticSource.CUBLAS, trt.TacticSource.CUBLAS_LT, trt.TacticSource.CUDNN)
    config.set_tactic_sources(config.get_tactic_sources() & ~sum(1 << int(each) for each in others))


@serves(since=(10, 0))
def as_it_is(_trt: TensorRt, _config: tensorrt.IBuilderConfig) -> None:
    """They are not used unless asked for."""


@serves(since=(8, 6), until=(10, 0))
def shared_profile(trt: TensorRt, config: tensorrt.IBuilderConfig) -> None:
    """Let several contexts run the plan's one profile: every CUDA graph has a context of its own."""
    config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)


@serves(since=(10, 0))
def always_shared_profile(_trt: TensorRt, _config: tensorrt.IBuilderConfig) -> None:
    """It is shared from 10 on, and that cannot be changed."""


@serves(since=(8, 6), until=(10, 0))
def unwatched(_trt: TensorRt, _config: tensorrt.IBuilderConfig, _report: Report) -> None:
    """No word of progress until the build is done."""


@serves(since=(10, 0))
def watched(trt: TensorRt, config: tensorrt.IBuilderConfig, report: Report) -> tensorrt.IProgressMonitor:
    """Let the library tell how far it is, from whichever of its threads. The monitor must outlive the build."""

    if TYPE_CHECKING:
        from tensorrt import IProgressMonitor
    else:
        IProgressMonitor = trt.IProgressMonitor  # noqa: N806

    class Monitor(IProgressMonitor):
        def __init__(self) -> None:
            IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            report(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phase_name, step + 1, self._steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    monitor: tensorrt.IProgressMonitor = Monitor()
    config.progress_monitor = monitor
    return monitor


@serves(since=(8, 6), until=(10, 3))
def numbered(error: tensorrt.ParserError, model: Path) -> str:
    """Where the parser failed."""
    return f"node {error.node()} {node_text(model, error.node())}".rstrip() if error.node() >= 0 else "the file"


@serves(since=(10, 3))
def named(error: tensorrt.ParserError, _model: Path) -> str:
    """Where the parser failed, by its own account."""
    return f"node {error.node()} {error.node_name()!r} ({error.node_operator()})" if error.node() >= 0 else "the file"
