"""Where the stage stands at each frame. Any frame can be asked for: the path is a function of the index, not a walk."""

import math

import numpy as np

from edgecell.sources.phantom.options import Options

ORIGIN_UM = 1024.0  # keeps every tile of the slide at a positive place, also when the stage shakes
ROW_UM = 20_000.0  # usable width of a smear on a 26 mm slide; its length has no end here
HAND_STEP = 0.3  # of a field per frame: a calm hand
VIBRATION_UM = 1.5  # rms
_WAVES = ((0.11, 0.30), (0.043, 0.45), (0.017, 0.60))  # radians per frame, amplitude


def position_um(options: Options, index: int) -> tuple[float, float]:
    """(x, y) on the slide of the top left corner of frame `index`, in micrometres."""
    if options.stage == "hand":
        x, y = _pushed(options, index)
    else:
        x, y = _stepped(options, index)
        if options.stage == "vibrating":
            shake = np.random.default_rng((options.seed, index, 1)).normal(0.0, VIBRATION_UM, 2)
            x, y = x + float(shake[0]), y + float(shake[1])
    return ORIGIN_UM + x, ORIGIN_UM + y


def focus_um(options: Options, index: int) -> float:
    """Distance from focus, wandering slowly with rms options.defocus_um."""
    return options.defocus_um * _wander(options.seed + 101, index)


def _field_um(options: Options) -> tuple[float, float]:
    return options.width * options.pixel_um, options.height * options.pixel_um


def _stepped(options: Options, index: int) -> tuple[float, float]:
    """Serpentine: to the right, down, to the left, down ..."""
    width_um, height_um = _field_um(options)
    share = 1.0 - options.overlap if options.stage == "overlapping" else 1.0
    columns = max(1, int(ROW_UM / (width_um * share)))
    row, column = divmod(index, columns)
    column = columns - 1 - column if row % 2 else column
    return column * width_um * share, row * height_um * share


def _pushed(options: Options, index: int) -> tuple[float, float]:
    """The same serpentine as one line, walked at an uneven pace and with a wobble across."""
    width_um, height_um = _field_um(options)
    gone_um = width_um * max(0.0, HAND_STEP * (index + 2.0 * (_wander(options.seed, index) - _wander(options.seed, 0))))
    row, along_um = divmod(gone_um, ROW_UM + height_um)
    down_um = max(0.0, along_um - ROW_UM)
    x = min(along_um, ROW_UM)
    x = ROW_UM - x if int(row) % 2 else x
    wobble_um = 0.1 * height_um * _wander(options.seed + 1, index)
    return x, row * height_um + down_um + wobble_um


def _wander(seed: int, index: int) -> float:
    """A smooth function of the index with mean 0 and rms about 1."""
    phases = np.random.default_rng((seed, 2)).uniform(0.0, 2.0 * math.pi, len(_WAVES))
    total = sum(a * math.sin(w * index + float(p)) for (w, a), p in zip(_WAVES, phases, strict=True))
    return total / math.sqrt(0.5 * sum(a * a for _, a in _WAVES))
