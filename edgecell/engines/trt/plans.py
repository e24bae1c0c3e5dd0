"""The plans that `edgecell prepare` built on this machine, and what it found out about each.

A plan is TensorRT's own form of a model: tied to the version, the GPU, the driver and the shapes that it was built for. In the
cache folder lie, for each plan, `PRECISION-DIGEST.plan` and `PRECISION-DIGEST.json`, its record; DIGEST is of the key, so a
plan of another key is never even opened. The plan is written first and the record last, each put in place by a rename: what
stops halfway is no plan. A record exists for plans whose golden cells were replayed only: for those that passed, and, without
the plan itself, for those that were refused.

    precision   built from              which is
    int8        s8s8.onnx               Q/DQ
    fp16        fp16.onnx, float.onnx   halves where TensorRT types strongly (10.12 and later), with its FP16 flag below

Loading a plan runs what is in it, so the folder is made for its owner only.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edgecell.bundle import SHIPPED, Bundle, Encoding, Manifest, Sha256, sha256_of
from edgecell.engines.trt.driver import Driver
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.request import Shapes
from edgecell.errors import EngineError
from edgecell.files import write_whole

Precision = Literal["int8", "fp16"]

ENCODINGS: Mapping[Precision, tuple[Encoding, ...]] = {"int8": ("s8s8",), "fp16": ("fp16", "float")}
"""What a plan of a precision may be built from, by the names of a bundle's files."""

TITLES = {
    "tensorrt": "TensorRT",
    "device": "device",
    "compute_capability": "compute capability",
    "driver": "the driver's CUDA",
    "platform": "platform",
    "profile": "shapes",
}
"""What the parts of a key are called in messages, but for the model and the precision."""


class NotPrepared(EngineError):
    """There is no plan of this model and precision, of whatever key."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is tied to beside the model, each as text.

    tensorrt: "10.3.0". device: "Orin". compute_capability: "8.7". driver: the CUDA that it supports, "12.6". platform:
    "L4T 36.4.3" on a Jetson, else processor and driver, "x86_64 driver 560.35.03".
    """

    tensorrt: str
    device: str
    compute_capability: str
    driver: str
    platform: str


class PlanKey(Machine, frozen=True, kw_only=True):
    """All that a plan is tied to. profile: the smallest, usual and largest shape, "1x3x32x32 16x3x32x32 64x3x32x32"."""

    onnx_sha256: Sha256
    precision: Precision
    profile: str


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="plan/1"):
    """A plan that was built and verified on this machine, or refused.

    bundle: its name, for people. encoding: the bundle's file that it was built from. build_s: seconds. p50_ms: median of one
    inference by batch size, host to host. deviation, tolerance: of the golden cells, by output. refused: why runs may not use
    it, "" if they may; then there is no plan_sha256, and no plan. edgecell, utc: the version that built it, and when.
    """

    key: PlanKey
    bundle: str
    encoding: Encoding
    plan_sha256: Sha256 | None
    build_s: float
    p50_ms: Mapping[int, float] = {}
    deviation: Mapping[str, float] = {}
    tolerance: Mapping[str, float] = {}
    refused: str = ""
    edgecell: str
    utc: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """A record and the plan, intact; b"" of one that was refused."""

    record: PlanRecord
    plan: bytes


def folder_of(cache: Path | None) -> Path:
    """Where plans lie: `cache`, else $XDG_CACHE_HOME/edgecell/plans, by default ~/.cache/edgecell/plans."""
    if cache is not None:
        return cache
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "edgecell" / "plans"


def machine_of(driver: Driver, library: Library, device: int = 0) -> Machine:
    """What plans made here are tied to. device: its index. Raises EngineError when there is no such device."""
    if device >= len(driver.devices):
        there = f"there is no CUDA device {device}, only {len(driver.devices)}"
        raise EngineError(there, fix="correct `device` under [engine] in the settings")
    found = driver.devices[device]
    return Machine(
        tensorrt=library.text,
        device=found.name,
        compute_capability=found.compute_capability,
        driver=driver.version,
        platform=driver.platform,
    )


def timing_cache(folder: Path, machine: Machine) -> Path:
    """Where what TensorRT measured of its kernels on such a device is kept, so that the next build is quicker. TensorRT itself
    refuses a cache that is not its own."""
    device = re.sub(r"[^A-Za-z0-9]+", "-", machine.device).strip("-")
    return folder / f"timing-{machine.tensorrt}-{machine.compute_capability}-{device}.cache"


def profile_of(manifest: Manifest) -> Shapes:
    """The shapes (N, C, H, W) that a bundle's input may have."""
    spec, batch = manifest.input, manifest.input.batch
    channels, *largest = spec.shape
    smallest = largest if spec.multiple is None else [spec.multiple, spec.multiple]
    usual = spec.usual or largest
    return Shapes(
        min=(batch.min, channels, smallest[0], smallest[1]),
        opt=(batch.opt, channels, usual[0], usual[1]),
        max=(batch.max, channels, largest[0], largest[1]),
    )


def key_of(model: Path, manifest: Manifest, machine: Machine) -> PlanKey:
    """The key of the plan of `model`, a bundle's file: its name says the precision. Raises EngineError: it cannot be read."""
    try:
        sha256 = sha256_of(model)
    except OSError as error:
        raise EngineError(f"cannot read {model}: {error.strerror}", fix="copy the bundle again, all its files") from error
    precision: Precision = "int8" if model.stem in ENCODINGS["int8"] else "fp16"
    shapes = profile_of(manifest)
    profile = " ".join("x".join(map(str, shape)) for shape in (shapes.min, shapes.opt, shapes.max))
    return PlanKey(onnx_sha256=sha256, precision=precision, profile=profile, **msgspec.structs.asdict(machine))


def prepared(model: Path, manifest: Manifest, machine: Machine, folder: Path) -> Stored:
    """The plan of `model` that a run may use. Raises EngineError, which says what is wrong with the one that is there."""
    found = stored(model, key_of(model, manifest, machine), folder)
    if found.record.refused:
        what = f"the {found.record.key.precision} plan of {found.record.bundle} was refused: {found.record.refused}"
        raise EngineError(what, fix="use another precision, or --engine onnxrt")
    return found


def chosen(bundle: Bundle, machine: Machine, folder: Path, precision: Precision | None = None) -> PlanRecord:
    """The plan that runs use: the fastest prepared one, of any precision where none is asked for.

    Raises EngineError: none can be used, and why not.
    """
    asked = [precision] if precision else list(ENCODINGS)
    files = [
        f"{encoding}.onnx" for each in asked for encoding in ENCODINGS[each] if f"{encoding}.onnx" in bundle.manifest.files
    ]
    if not files:
        raise EngineError(f"bundle {bundle.manifest.name} has no model for TensorRT", fix="build it again with the workshop")
    looked = [_look(bundle.file(name), bundle.manifest, machine, folder) for name in files]
    found = [each for each in looked if isinstance(each, PlanRecord)]
    problems = [each for each in looked if isinstance(each, EngineError)]
    if not found:
        raise next((error for error in problems if not isinstance(error, NotPrepared)), problems[0])
    return fastest(found, bundle.manifest)


def fastest(found: Iterable[PlanRecord], manifest: Manifest) -> PlanRecord:
    """Of at least one the plan with the lowest median at the usual batch."""
    return min(found, key=lambda record: record.p50_ms.get(manifest.input.batch.opt, float("inf")))


def _look(model: Path, manifest: Manifest, machine: Machine, folder: Path) -> PlanRecord | EngineError:
    try:
        return prepared(model, manifest, machine, folder).record
    except EngineError as error:
        return error


def stored(model: Path, key: PlanKey, folder: Path) -> Stored:
    """Record and plan of a bundle's file, both intact. Raises NotPrepared; EngineError that says what is wrong with them."""
    fix = f"edgecell prepare {model.parent.name if model.parent.parent == SHIPPED else model.parent}"
    path = folder / f"{_name(key)}.json"
    try:
        record = msgspec.json.decode(path.read_bytes(), type=PlanRecord)
    except FileNotFoundError:
        raise _missing(key, folder, model.parent.name, fix) from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"plan record {path} cannot be read: {error}", fix=fix) from None
    if record.key != key:
        raise EngineError(f"plan record {path} is of another key: {_difference(record.key, key)}", fix=fix)
    return Stored(record=record, plan=b"" if record.refused else _intact(path.with_suffix(".plan"), record, fix))


def store(record: PlanRecord, plan: bytes, folder: Path) -> PlanRecord:
    """Write a plan and its record, which gets the plan's sha256; a refused one's record only. Raises EngineError."""
    sha256 = None if record.refused else hashlib.sha256(plan).hexdigest()
    record = msgspec.structs.replace(record, plan_sha256=sha256)
    path = folder / f"{_name(record.key)}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if record.refused:
            path.with_suffix(".plan").unlink(missing_ok=True)
        else:
            write_whole(path.with_suffix(".plan"), plan)
        write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    except OSError as error:
        fix = "free some space, or name a folder that can be written in [engine] cache"
        raise EngineError(f"cannot write a plan to {folder}: {error.strerror}", fix=fix) from error
    return record


def records(folder: Path) -> Iterator[PlanRecord]:
    """Every record that can be read, of whatever key. Their plans are not looked at."""
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            yield msgspec.json.decode(path.read_bytes(), type=PlanRecord)


def _missing(key: PlanKey, folder: Path, name: str, fix: str) -> EngineError:
    """What to say where no plan has this key: how the key of the one nearest to it differs."""
    others = [
        each.key for each in records(folder) if (each.key.onnx_sha256, each.key.precision) == (key.onnx_sha256, key.precision)
    ]
    if not others:
        return NotPrepared(f"{name} has no {key.precision} plan on this device", fix=fix)
    nearest = min((_difference(other, key) for other in others), key=lambda text: text.count(";"))
    return EngineError(f"the {key.precision} plan of {name} was prepared with {nearest}", fix=fix)


def _difference(theirs: PlanKey, mine: PlanKey) -> str:
    """`TensorRT 10.3.0, this is 10.16.1; driver 540.4.0, this is 560.1`."""
    pairs = ((title, getattr(theirs, name), getattr(mine, name)) for name, title in TITLES.items())
    return "; ".join(f"{title} {one}, this is {other}" for title, one, other in pairs if one != other)


def _intact(path: Path, record: PlanRecord, fix: str) -> bytes:
    """The plan in a file. Raises EngineError when it is not the one of the record."""
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise EngineError(f"plan {path} cannot be read: {error.strerror}", fix=fix) from None
    if hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        raise EngineError(f"plan {path} is corrupt: it is not the one that its record lists", fix=fix)
    return plan


def _name(key: PlanKey) -> str:
    return f"{key.precision}-{_digest(key)}"


def _digest(of: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(of, order="deterministic")).hexdigest()[:24]
