"""What may be chosen of a phantom slide and of the camera that looks at it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Stage = Literal["fields", "overlapping", "hand", "vibrating", "searched"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """seed: another seed is another slide. width, height: of a frame in pixels. pixel_um: micrometres per pixel as drawn
    (the frames do not tell it: a camera does not know it either).

    frames: how many, None for no end. fps: frames per second, None for as fast as they are read.
    stage: "fields" steps by whole fields, "overlapping" steps so that neighbours share `overlap` of a field, "hand" is a slide
    pushed by hand, "vibrating" steps by whole fields with an unsteady stage, "searched" is a slide that a person looks through:
    pushed on in rows, neighbours sharing `overlap`, with a tremor, halts, and returns to what was seen.
    encoder: the frames tell where the stage stands, as those of a motor stage do.
    exposure: share of the time between two frames in which the shutter is open, and what moves is smeared.
    defocus_um: rms distance from focus. noise: shot and read noise, 1 is an industrial camera, 0 none.
    vignette: share of the light lost in the corners. stain: strength of the stain, 1 is a May-Gruenwald-Giemsa routine stain.
    """

    seed: Annotated[int, Meta(ge=0)] = 7
    width: Annotated[int, Meta(ge=16, le=16384)] = 1280
    height: Annotated[int, Meta(ge=16, le=16384)] = 720
    pixel_um: Annotated[float, Meta(ge=0.04, le=0.5)] = 0.1
    frames: Annotated[int, Meta(ge=0)] | None = None
    fps: Annotated[float, Meta(gt=0)] | None = None
    stage: Stage = "fields"
    overlap: Annotated[float, Meta(ge=0.0, le=0.95)] = 0.5
    encoder: bool = False
    defocus_um: Annotated[float, Meta(ge=0.0, le=20.0)] = 0.1
    noise: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.0
    vignette: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.12
    exposure: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    stain: Annotated[float, Meta(ge=0.2, le=2.0)] = 1.0
