"""A plan as TensorRT's stand-in builds it, made at once: for tests of what runs plans, not of what builds them."""

import importlib
import json
from typing import Any

from edgecell.bundle import Bundle, Encoding
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.plans import profile_of


def library_of(version: tuple[int, ...]) -> Library:
    """The stand-in, as `edgecell.engines.trt.library.find` finds it."""
    text = ".".join(map(str, version))
    return Library(module=importlib.import_module("tensorrt"), version=version, text=text)


def plan_of(bundle: Bundle, encoding: Encoding, *, version: str = "10.3.0", device: str = "87") -> bytes:
    """The plan of a bundle's file, for the shapes of its manifest."""
    shapes = profile_of(bundle.manifest)
    profile = {bundle.manifest.input.name: [shapes.min, shapes.opt, shapes.max]}
    return plan_bytes(bundle.file(f"{encoding}.onnx").read_bytes(), profile, version=version, device=device)


def plan_bytes(model: bytes, profile: Any, *, version: str = "10.3.0", device: str = "87") -> bytes:
    """The plan of an ONNX model."""
    magic: bytes = importlib.import_module("stand_ins.tensorrt_builder").MAGIC
    return magic + json.dumps({"version": version, "device": device, "profile": profile}).encode() + b"\n" + model
