"""A plan as TensorRT's stand-in builds it, made at once: for tests of what runs plans, not of what builds them."""

import importlib
import json
from pathlib import Path
from typing import Any

from edgecell.bundle import Bundle, Encoding
from edgecell.engines.trt import driver, library, plans
from edgecell.engines.trt.library import Library


def library_of(version: tuple[int, ...]) -> Library:
    """The stand-in, as `edgecell.engines.trt.library.find` finds it."""
    text = ".".join(map(str, version))
    return Library(module=importlib.import_module("tensorrt"), version=version, text=text)


def plan_of(bundle: Bundle, encoding: Encoding, *, version: str = "10.3.0", device: str = "87") -> bytes:
    """The plan of a bundle's file, for the shapes of its manifest."""
    shapes = plans.profile_of(bundle.manifest)
    profile = {bundle.manifest.input.name: [shapes.min, shapes.opt, shapes.max]}
    return plan_bytes(bundle.file(f"{encoding}.onnx").read_bytes(), profile, version=version, device=device)


def plan_bytes(model: bytes, profile: Any, *, version: str = "10.3.0", device: str = "87", sharing: bool = True) -> bytes:
    """The plan of an ONNX model. sharing: whether several contexts may run its profile; before 10 that is asked for."""
    magic: bytes = importlib.import_module("stand_ins.tensorrt_builder").MAGIC
    facts = {"version": version, "device": device, "sharing": sharing, "profile": profile}
    return magic + json.dumps(facts).encode() + b"\n" + model


def store_plan(
    bundle: Bundle, encoding: Encoding, folder: Path | None = None, *, p50_ms: float = 1.0, device: int = 0
) -> plans.PlanRecord:
    """Put the plan of a bundle's file where runs find it, as `edgecell prepare` does. p50_ms: how fast it is said to be."""
    found = driver.look()
    vendor = library.find(found)
    machine = plans.machine_of(found, vendor, device)
    record = plans.PlanRecord(
        key=plans.key_of(bundle.file(f"{encoding}.onnx"), bundle.manifest, machine),
        bundle=bundle.manifest.name,
        encoding=encoding,
        plan_sha256=None,
        build_s=0.0,
        p50_ms={bundle.manifest.input.batch.opt: p50_ms},
        edgecell="test",
        utc="2026-01-01T00:00:00.000Z",
    )
    return plans.store(record, plan_of(bundle, encoding, version=vendor.text), plans.folder_of(folder))
