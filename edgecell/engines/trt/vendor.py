"""What edgecell uses of TensorRT's Python package, by the vendor's own types: for the type checker, nothing at run time.

The package has two names and may not be there, so functions get it as an argument, `trt: TensorRt`. Its objects are annotated
with their class, `tensorrt.ICudaEngine`, from stubs that were generated from 10.13; what another version lacks, or has alone,
is used in functions marked by `edgecell.engines.trt.library.serves`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorrt


class TensorRt(Protocol):
    """The package: `tensorrt`, or `tensorrt_bindings`."""

    Builder: type[tensorrt.Builder]
    BuilderFlag: type[tensorrt.BuilderFlag]
    DataType: type[tensorrt.DataType]
    ExecutionContextAllocationStrategy: type[tensorrt.ExecutionContextAllocationStrategy]
    ILogger: type[tensorrt.ILogger]
    IProgressMonitor: type[tensorrt.IProgressMonitor]
    MemoryPoolType: type[tensorrt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[tensorrt.NetworkDefinitionCreationFlag]
    OnnxParser: type[tensorrt.OnnxParser]
    PreviewFeature: type[tensorrt.PreviewFeature]
    Runtime: type[tensorrt.Runtime]
    TacticSource: type[tensorrt.TacticSource]
    TensorIOMode: type[tensorrt.TensorIOMode]


if TYPE_CHECKING:
    _: TensorRt = tensorrt
