"""What a plan is to be built from, what is said meanwhile, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgecell.errors import EngineBuildError

Precision = Literal["int8", "fp16", "fp32"]
CacheState = Literal["", "new", "reused", "refused"]
"""What became of the timing cache: none asked for, begun, reused, or another version's or device's and so begun anew."""

Shape = tuple[int, ...]


class ModelRefused(EngineBuildError):
    """The parser does not take the model. errors: all that it found, each with its node; the text has the first ones only."""

    def __init__(self, what: str, *, fix: str = "", errors: tuple[str, ...] = ()) -> None:
        super().__init__(what, fix=fix)
        self.errors = errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The shapes (N, C, H, W) that one input may have: smallest, the one that the plan is made fast for, largest."""

    min: Shape
    opt: Shape
    max: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One plan.

    model: the ONNX file that fits precision and the library's typing: int8 `s8s8.onnx`; fp16 `fp16.onnx` where the library is
    strongly typed, else `float.onnx`; fp32 `float.onnx`. plan: where the plan goes, replaced as a whole or not at all.
    shapes: of every input, by its name. workspace_bytes: scratch memory of the device that a layer may have at most.
    timing_cache: measured times of kernels, read if it exists, written after the build. device: its index.
    """

    model: Path
    plan: Path
    precision: Precision
    shapes: Mapping[str, Shapes]
    workspace_bytes: int
    timing_cache: Path | None = None
    device: int = 0

    def to_json(self) -> str:
        """One line, with absolute paths: the process that reads it may stand in another folder."""
        cache = None if self.timing_cache is None else str(self.timing_cache.absolute())
        paths = {"model": str(self.model.absolute()), "plan": str(self.plan.absolute()), "timing_cache": cache}
        plain = {"precision": self.precision, "workspace_bytes": self.workspace_bytes, "device": self.device}
        return json.dumps({**paths, **plain, "shapes": {name: asdict(each) for name, each in self.shapes.items()}})

    @classmethod
    def from_json(cls, text: str | bytes) -> "BuildRequest":
        """The request that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        cache = values.pop("timing_cache")
        model, plan, shapes = Path(values.pop("model")), Path(values.pop("plan")), values.pop("shapes")
        ranges = {name: Shapes(**{bound: tuple(shape) for bound, shape in each.items()}) for name, each in shapes.items()}
        return cls(model=model, plan=plan, shapes=ranges, timing_cache=None if cache is None else Path(cache), **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A build on its way, told at least once a second. step of steps in `phase`; 0 of 0 where the library does not say."""

    elapsed_s: float
    phase: str
    step: int = 0
    steps: int = 0

    def __str__(self) -> str:
        share = f" {self.step}/{self.steps}" if self.steps else ""
        return f"{self.phase}{share}, {self.elapsed_s:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A plan that was written.

    seconds: how long it took. version: TensorRT's. layers: of the network, before the library fused them. warnings: what the
    library warned of, each once.
    """

    seconds: float
    version: str
    layers: int
    timing_cache: CacheState
    warnings: tuple[str, ...]
