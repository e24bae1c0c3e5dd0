"""A stand-in for NVIDIA's TensorRT, which no test machine has: enough of its Python API to prove the control flow around it.

It behaves as the version that the environment names in TENSORRT_STAND_IN_VERSION (8.6.1, 10.3.0, 10.16.1.11, 11.4.0.106 or any
between): names that a version lacks are absent. It measures nothing, and computes what ONNX Runtime computes. What goes wrong
is named in TENSORRT_STAND_IN_FAULT: see `stand_ins.tensorrt_builder`. It needs tests/stand_ins and tests on Python's path.
"""

from types import ModuleType

from stand_ins import tensorrt_builder, tensorrt_runtime, tensorrt_version


def _offer(half: ModuleType) -> None:
    """What a half of the stand-in defines itself is this package's."""
    for name, value in vars(half).items():
        if getattr(value, "__module__", "") == half.__name__ and not name.startswith("_"):
            globals()[name] = value


if tensorrt_version.FAULT == "import":
    raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file or directory")
__version__ = tensorrt_version.TEXT
_offer(tensorrt_builder)
_offer(tensorrt_runtime)
