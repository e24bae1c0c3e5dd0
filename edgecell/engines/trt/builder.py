"""Builds one plan with TensorRT, in this process: parse the ONNX file, say what is allowed, let the library measure, write.

The call order is the same for every version; what differs between them is in `edgecell.engines.trt.versions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecell.engines.trt import versions
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.request import BuildRequest, CacheState, ModelRefused, Shapes
from edgecell.engines.trt.vendor import TensorRt
from edgecell.engines.trt.versions import Report
from edgecell.errors import EngineBuildError
from edgecell.files import write_whole

if TYPE_CHECKING:
    import tensorrt

_MOST_WARNINGS = 20
_MOST_ERRORS = 5  # of the library's own, in one error text: the last ones say why
_FIRST_ERRORS = 2  # of the parser's, in the error text
_FIXES = (
    (
        ("out of memory", "outofmemory", "insufficient memory", "memory allocation"),
        "end other programs that use the device's memory, lower `workspace_mib`, or bundle the model with a smaller batch.max",
    ),
    (("insufficient workspace", "could not find any implementation"), "raise `workspace_mib` under [engine] in the settings"),
    (
        ("cuda initialization failure", "driver version is insufficient"),
        "install a newer NVIDIA driver, or a TensorRT for the CUDA that the driver supports (see `edgecell doctor`)",
    ),
    (("target gpu sm", "compute capability"), "install a TensorRT that knows this device, or run with `--engine onnxrt`"),
)
_FIX = "run with `--engine onnxrt`, and report this line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """See `edgecell.engines.trt.request.Built`."""

    version: str
    layers: int
    timing_cache: CacheState
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Heard:
    """What the library logged: warnings, each once, and errors."""

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        line = " ".join(text.split())
        if line not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(line)

    def fail(self, text: str) -> None:
        self.errors.append(" ".join(text.split()))

    def error(self, what: str, fix: str = "") -> EngineBuildError:
        """What went wrong with what the library said of it, and the fix that its words call for."""
        said = " | ".join(self.errors[-_MOST_ERRORS:]) or " | ".join(self.warnings[-_MOST_ERRORS:]) or "it logged no reason"
        known = (each for words, each in _FIXES if any(word in said.lower() for word in words))
        return EngineBuildError(f"{what}: {said}", fix=fix or next(known, _FIX))


def build(library: Library, request: BuildRequest, report: Report) -> Outcome:
    """Write `request.plan`. Raises EngineBuildError."""
    trt, heard = library.module, Heard()
    logger = _logger(trt, heard)
    report("starting the builder", 0, 0)
    try:
        builder: tensorrt.Builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:
        raise heard.error(f"TensorRT {library.text} could not make a builder ({error})") from error
    network = library.pick(
        versions.explicit_batch, versions.weakly_typed, versions.strongly_typed, versions.always_strongly_typed
    )(trt, builder)
    report(f"reading {request.model.name}", 0, 0)
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, logger)
    _parse(library, parser, request.model, heard)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    library.pick(versions.without_other_libraries, versions.as_it_is)(trt, config)
    library.pick(versions.shared_profile, versions.always_shared_profile)(trt, config)
    library.pick(versions.allowed, versions.as_the_model_says)(trt, config, request.precision)
    if request.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # else convolutions are computed with 10 bits of mantissa
    _set_profile(builder, network, config, request, heard)
    cache, cache_state = _timing_cache(config, request.timing_cache, heard)
    monitor = library.pick(versions.unwatched, versions.watched)(trt, config, report)
    report(f"building the {request.precision} plan", 0, 0)
    plan = builder.build_serialized_network(network, config)
    del monitor  # it had to outlive the build
    if plan is None:
        raise heard.error(f"TensorRT {library.text} built no {request.precision} plan of {request.model}")
    report("writing the plan", 0, 0)
    _write(request.plan, plan)
    if request.timing_cache is not None and cache is not None:
        _write(request.timing_cache, cache.serialize())
    return Outcome(version=library.text, layers=network.num_layers, timing_cache=cache_state, warnings=tuple(heard.warnings))


def _logger(trt: TensorRt, heard: Heard) -> tensorrt.ILogger:
    """The library's log, turned to us. Made before anything else of the library, and kept as long."""

    if TYPE_CHECKING:
        from tensorrt import ILogger
    else:
        ILogger = trt.ILogger  # noqa: N806

    class Logger(ILogger):
        def __init__(self) -> None:
            ILogger.__init__(self)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity == trt.ILogger.WARNING:
                heard.warn(msg)
            elif severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                heard.fail(msg)

    logger: tensorrt.ILogger = Logger()
    return logger


def _parse(library: Library, parser: tensorrt.OnnxParser, model: Path, heard: Heard) -> None:
    """Read the ONNX file into the network. Raises ModelRefused with every error of the parser and its node."""
    if parser.parse_from_file(str(model)):
        return
    place = library.pick(versions.numbered, versions.named)
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    what = f"TensorRT {library.text} cannot read {model}"
    if not errors:
        raise heard.error(what)
    lines = tuple(f"{place(each, model)}: {each.code().name}, {' '.join(each.desc().split())}" for each in errors)
    first = "; ".join(lines[:_FIRST_ERRORS])
    more = f"; and {len(lines) - _FIRST_ERRORS} more, all in the log" if len(lines) > _FIRST_ERRORS else ""
    fix = "build the bundle again with the workshop, which keeps to what TensorRT reads"
    raise ModelRefused(f"{what}: {first}{more}", fix=fix, errors=lines)


def _set_profile(
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    config: tensorrt.IBuilderConfig,
    request: BuildRequest,
    heard: Heard,
) -> None:
    """The shapes that every input may have. Raises EngineBuildError when model and request do not agree on them."""
    profile = builder.create_optimization_profile()
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    inputs = {each.name: tuple(each.shape) for each in tensors}
    if set(inputs) != set(request.shapes):
        what = f"{request.model} has inputs {sorted(inputs)}, and shapes were given for {sorted(request.shapes)}"
        raise EngineBuildError(what, fix="build the bundle again with the workshop")
    for name, shape in inputs.items():
        given = request.shapes[name]
        if not _fits(shape, given):
            what = f"input {name} of {request.model} is {shape} (-1: any), which shapes {given.min} to {given.max} do not fit"
            raise EngineBuildError(f"{what} (fastest at {given.opt})", fix="build the bundle again with the workshop")
        profile.set_shape(name, given.min, given.opt, given.max)
    if config.add_optimization_profile(profile) < 0:
        raise heard.error(f"TensorRT refused the shapes {dict(request.shapes)} for {request.model}")


def _fits(shape: tuple[int, ...], given: Shapes) -> bool:
    """Whether the three shapes are of the input's rank, in order, and as the model has it where it fixes a size."""
    if not len(shape) == len(given.min) == len(given.opt) == len(given.max):
        return False
    sizes = zip(shape, given.min, given.opt, given.max, strict=True)
    return all(0 < low <= opt <= high and (size == -1 or size == low == high) for size, low, opt, high in sizes)


def _timing_cache(
    config: tensorrt.IBuilderConfig, path: Path | None, heard: Heard
) -> tuple[tensorrt.ITimingCache | None, CacheState]:
    """The cache in use and what became of the file. One of another version or device is refused."""
    if path is None:
        return None, ""
    state: CacheState = "new"
    if kept := _read(path):
        cache = config.create_timing_cache(kept)
        if _accepted(config, cache):
            return cache, "reused"
        state = "refused"
        heard.errors.clear()  # what it said of the file is no reason for what comes
    cache = config.create_timing_cache(b"")
    if cache is not None:
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache, state


def _read(path: Path) -> bytes:
    """b"" of a file that is not there. Raises EngineBuildError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise EngineBuildError(f"{path} cannot be read: {error}", fix="remove it, or let the user read it") from error


def _accepted(config: tensorrt.IBuilderConfig, cache: tensorrt.ITimingCache | None) -> bool:
    """Whether a cache goes with this library and device. There is none of bytes that never were one."""
    return cache is not None and config.set_timing_cache(cache, ignore_mismatch=False)


def _write(path: Path, memory: tensorrt.IHostMemory) -> None:
    """A buffer of the library's, as a file. Raises EngineBuildError."""
    try:
        write_whole(path, memoryview(memory))
    except OSError as error:
        raise EngineBuildError(f"{path} cannot be written: {error}", fix="make room, or let the user write there") from error
