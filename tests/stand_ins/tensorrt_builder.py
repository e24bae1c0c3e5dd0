"""The builder's half of the stand-in: network, parser, configuration, timing cache, and a "plan" that is the ONNX file itself.

TENSORRT_STAND_IN_FAULT (TENSORRT_STAND_IN_SECONDS says how long a build takes):
  import            the package does not load
  builder           `Builder` fails as it does without a driver
  parser            the parser refuses the model's first and last node
  memory            the device's memory does not suffice
  workspace         the workspace does not suffice
  silent            a build without a plan and without a word why
  abort, segfault, kill   the process dies while it builds

A plan is `MAGIC`, one line of JSON (version, device, flags, typed, workspace, sources, tf32, sharing, and profile: for each
input its smallest, best and largest shape), and the bytes of the ONNX file.
"""

import importlib
import json
import os
import signal
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import onnx
from stand_ins.tensorrt_version import DEVICE, FAULT, SECONDS, TEXT, VERSION

DecodeError: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError  # it comes with onnx, untyped
MAGIC = b"TENSORRT STAND-IN PLAN\n"
CACHE_MAGIC = b"TENSORRT STAND-IN TIMING CACHE\n"


class _Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = _Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = _Severity

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: _Severity, msg: str) -> None:
        raise NotImplementedError('Tried to call pure virtual function "ILogger::log"')


class Logger(ILogger):
    def __init__(self, min_severity: _Severity = _Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: _Severity, msg: str) -> None:
        if severity <= self.min_severity:
            print(f"[TRT] [{severity.name}] {msg}")


class BuilderFlag(IntEnum):
    if VERSION < (11,):
        FP16 = 0
        INT8 = 1
    DEBUG = 2
    TF32 = 7


class NetworkDefinitionCreationFlag(IntEnum):
    if VERSION < (11,):
        EXPLICIT_BATCH = 0
    if VERSION >= (10,):
        STRONGLY_TYPED = 0 if VERSION >= (11,) else 1
    else:
        EXPLICIT_PRECISION = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1


class PreviewFeature(IntEnum):
    if VERSION < (11,):
        PROFILE_SHARING_0806 = 0
    if VERSION >= (10, 3):
        ALIASED_PLUGIN_IO_10_03 = 1


class TacticSource(IntEnum):
    if VERSION < (11,):
        CUBLAS = 0
        CUBLAS_LT = 1
        CUDNN = 2
    EDGE_MASK_CONVOLUTIONS = 3
    JIT_CONVOLUTIONS = 4


class ErrorCode(IntEnum):
    SUCCESS = 0
    INTERNAL_ERROR = 1
    MODEL_DESERIALIZE_FAILED = 3
    INVALID_GRAPH = 5
    UNSUPPORTED_NODE = 8


class IHostMemory(bytes):
    """The library's memory: here, bytes. TensorRT's own has no methods either but the buffer protocol."""

    @property
    def nbytes(self) -> int:
        return len(self)


if VERSION >= (10,):

    class IProgressMonitor:
        def __init__(self) -> None:
            self._made = True


class Dims(tuple[int, ...]):
    """Sizes."""


class ITensor:
    def __init__(self, name: str, shape: Dims) -> None:
        self.name, self.shape = name, shape


class INetworkDefinition:
    """`typed`: "strong" or "weak"."""

    def __init__(self, flags: int) -> None:
        self._explicit = VERSION >= (10,) or bool(flags & 1)
        self._typed = "strong" if VERSION >= (11,) or (VERSION >= (10,) and flags & 2) else "weak"
        self._bytes = b""
        self._inputs: list[ITensor] = []
        self._operators: list[str] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_layers(self) -> int:
        return len(self._operators)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]


class ParserError:
    def __init__(self, code: ErrorCode, desc: str, index: int, name: str = "", operator: str = "") -> None:
        self._code, self._desc, self._index, self._name, self._operator = code, desc, index, name, operator

    def code(self) -> ErrorCode:
        return self._code

    def desc(self) -> str:
        return self._desc

    def node(self) -> int:
        return self._index

    if VERSION >= (10, 3):

        def node_name(self) -> str:
            return self._name

        def node_operator(self) -> str:
            return self._operator


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        network = self._network
        try:
            network._bytes = Path(model).read_bytes()
            graph = onnx.load_model_from_string(network._bytes).graph
        except (OSError, DecodeError):
            os.write(1, f"Failed to parse ONNX model from file: {model}\n".encode())  # as the library's own code prints
            self._errors.append(ParserError(ErrorCode.MODEL_DESERIALIZE_FAILED, f"Failed to parse ONNX model {model}", -1))
            return False
        kept = {each.name for each in graph.initializer}
        for each in graph.input:
            if each.name not in kept:
                sizes = Dims(dim.dim_value if dim.HasField("dim_value") else -1 for dim in each.type.tensor_type.shape.dim)
                network._inputs.append(ITensor(each.name, sizes))
        network._operators = [node.op_type for node in graph.node]
        if not network._explicit:
            self._errors.append(ParserError(ErrorCode.INVALID_GRAPH, "this network has an implicit batch dimension", -1))
        for index, node in enumerate(graph.node):
            if why := _refused(graph, index):
                self._errors.append(ParserError(ErrorCode.UNSUPPORTED_NODE, why, index, node.name, node.op_type))
        self._logger.log(_Severity.INFO, "parsed")
        return not self._errors


def _refused(graph: Any, index: int) -> str:
    """Why the parser does not take this node, if it does not. An unsigned zero point is what TensorRT does not take either."""
    node = graph.node[index]
    if FAULT == "parser" and index in {0, len(graph.node) - 1}:
        return "Assertion failed: stand-in does not support it"
    unsigned = {each.name for each in graph.initializer if each.data_type == onnx.TensorProto.UINT8}
    quantizes = node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    return "Assertion failed: the zero point must be int8" if quantizes and unsigned & set(node.input[2:]) else ""


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:  # noqa: A002  as TensorRT names them
        if not len(min) == len(opt) == len(max):
            raise ValueError("ranks differ")
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class ITimingCache:
    def __init__(self, version: str, device: str, entries: list[str]) -> None:
        self._version, self._device, self._entries = version, device, entries

    def serialize(self) -> IHostMemory:
        kept = {"version": self._version, "device": self._device, "entries": self._entries}
        return IHostMemory(CACHE_MAGIC + json.dumps(kept).encode())


class IBuilderConfig:
    __slots__ = (
        "_cache",
        "_flags",
        "_logger",
        "_profiles",
        "_sharing",
        "_sources",
        "_workspace",
        *(["progress_monitor"] * (VERSION >= (10,))),
    )

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._flags = {BuilderFlag.TF32}
        self._profiles: list[IOptimizationProfile] = []
        self._workspace = 0
        self._cache: ITimingCache | None = None
        self._sources = 0b11111 if VERSION < (10,) else 0b11000
        self._sharing = False
        if VERSION >= (10,):
            self.progress_monitor: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(BuilderFlag(flag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(BuilderFlag(flag))

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool == MemoryPoolType.WORKSPACE
        self._workspace = pool_size

    def set_preview_feature(self, feature: PreviewFeature, enable: bool) -> None:
        assert feature.name == "PROFILE_SHARING_0806"
        self._sharing = enable

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._sources = tactic_sources
        return True

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if not serialized_timing_cache:
            return ITimingCache(TEXT, DEVICE, [])
        magic, kept = serialized_timing_cache[: len(CACHE_MAGIC)], serialized_timing_cache[len(CACHE_MAGIC) :]
        if magic != CACHE_MAGIC:
            self._logger.log(_Severity.ERROR, "the timing cache cannot be read")
            return None
        return ITimingCache(**json.loads(kept))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if (cache._version, cache._device) != (TEXT, DEVICE) and not ignore_mismatch:
            self._logger.log(_Severity.ERROR, "the timing cache's header does not match")
            return False
        self._cache = cache
        return True


class Builder:
    def __init__(self, logger: ILogger) -> None:
        assert logger._made
        self._logger = logger
        if FAULT == "builder":
            logger.log(_Severity.WARNING, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        if reason := _mistake(network, config):
            self._logger.log(_Severity.ERROR, reason)
            return None
        self._logger.log(_Severity.VERBOSE, "a thousand lines of this")
        self._logger.log(_Severity.WARNING, "stand-in: nothing was measured")
        self._logger.log(_Severity.WARNING, "stand-in: nothing was measured")
        _pass_time(config)
        if not _survive(self._logger):
            return None
        if config._cache is not None:
            config._cache._entries += [each for each in network._operators if each not in config._cache._entries]
        facts = {
            "version": TEXT,
            "device": DEVICE,
            "flags": sorted(each.name for each in config._flags - {BuilderFlag.TF32}),
            "tf32": BuilderFlag.TF32 in config._flags,
            "typed": network._typed,
            "workspace": config._workspace,
            "sources": config._sources,
            "sharing": config._sharing,
            "profile": config._profiles[0]._shapes,
        }
        return IHostMemory(MAGIC + json.dumps(facts).encode() + b"\n" + network._bytes)


def _mistake(network: INetworkDefinition, config: IBuilderConfig) -> str:
    """What TensorRT would refuse in how it was called."""
    flags = {each.name for each in config._flags}
    if not config._profiles:
        return "Network has dynamic or shape inputs, but no optimization profile has been defined."
    if network._typed == "strong" and flags & {"FP16", "INT8"}:
        return "precision flags are not allowed on a strongly typed network"
    if network._typed == "weak" and "QuantizeLinear" in network._operators and "INT8" not in flags:
        return "the network has Q/DQ layers, but INT8 is not allowed"
    return ""


def _pass_time(config: IBuilderConfig) -> None:
    """Ten steps, told where there is somebody to tell."""
    monitor = getattr(config, "progress_monitor", None)
    if monitor is None:
        time.sleep(SECONDS)
        return
    monitor.phase_start("Building Engine", None, 2)
    monitor.phase_start("Timing graph nodes", "Building Engine", 10)
    for step in range(10):
        time.sleep(SECONDS / 10)
        if not monitor.step_complete("Timing graph nodes", step):
            break
    monitor.phase_finish("Timing graph nodes")
    monitor.step_complete("Building Engine", 0)
    monitor.step_complete("Building Engine", 1)
    monitor.phase_finish("Building Engine")


def _survive(logger: ILogger) -> bool:
    """Whether the build comes to an end with a plan."""
    if FAULT in {"abort", "segfault", "kill"}:
        os.write(2, b"stand-in: terminate called after throwing an instance of 'nvinfer1::CudaError'\n")
        os.kill(os.getpid(), {"abort": signal.SIGABRT, "segfault": signal.SIGSEGV, "kill": signal.SIGKILL}[FAULT])
    said = {
        "memory": "Error Code 2: OutOfMemory (Requested size was 1073741824 bytes.)",
        "workspace": "Error Code 10: Internal Error (Could not find any implementation for node Conv_0.)",
    }
    if FAULT in said:
        logger.log(_Severity.ERROR, said[FAULT])
    return FAULT not in {*said, "silent"}
