"""Where the stage stands at each frame. Any frame can be asked for: the path is a function of the index, not a walk."""

import math

import numpy as np

from edgecell.sources.phantom.options import Options

ORIGIN_UM = 1024.0  # keeps every tile of the slide at a positive place, also when the stage shakes
ROW_UM = 20_000.0  # usable width of a smear on a 26 mm slide; its length has no end here
HAND_STEP = 0.3  # of a field per frame: a calm hand
VIBRATION_UM = 1.5  # rms
TREMOR_UM = 0.5  # rms, of a hand that searches
SEARCHED_ROW = 4.0  # fields: short, so that the next row soon passes by
ROW_OVERLAP = 0.2  # of a field, at most: less where neighbours share less
_SEARCH = (1,) * 14 + (0,) * 4 + (-1,) * 5 + (0,) * 2 + (1,) * 7  # steps of one frame each, then again
_WAVES = ((0.11, 0.30), (0.043, 0.45), (0.017, 0.60))  # radians per frame, amplitude


def position_um(options: Options, index: int) -> tuple[float, float]:
    """(x, y) on the slide of the top left corner of frame `index`, in micrometres."""
    if options.stage == "searched":
        shake = np.random.default_rng((options.seed, index, 1)).normal(0.0, TREMOR_UM, 2)
        x, y = _searched(options, index)
        return ORIGIN_UM + x + float(shake[0]), ORIGIN_UM + y + float(shake[1])
    if options.stage == "hand":
        x, y = _pushed(options, index)
    else:
        x, y = _stepped(options, index)
        if options.stage == "vibrating":
            shake = np.random.default_rng((options.seed, index, 1)).normal(0.0, VIBRATION_UM, 2)
            x, y = x + float(shake[0]), y + float(shake[1])
    return ORIGIN_UM + x, ORIGIN_UM + y


def smear_um(options: Options, index: int) -> tuple[float, float]:
    """(x, y) that the slide is pushed while the shutter is open, in micrometres."""
    path = {"hand": _pushed, "searched": _searched}.get(options.stage)
    if path is None:
        return 0.0, 0.0
    (x0, y0), (x1, y1) = path(options, index), path(options, index + 1)
    return options.exposure * (x1 - x0), options.exposure * (y1 - y0)


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


def _searched(options: Options, index: int) -> tuple[float, float]:
    """Serpentine of short rows, gone through with halts and ways back."""
    width_um, height_um = _field_um(options)
    times, rest = divmod(index, len(_SEARCH))
    gone_um = (times * sum(_SEARCH) + sum(_SEARCH[:rest])) * width_um * (1.0 - options.overlap)
    row_um, down_um = SEARCHED_ROW * width_um, height_um * (1.0 - min(options.overlap, ROW_OVERLAP))
    row, along_um = divmod(gone_um, row_um + down_um)
    x = min(along_um, row_um)
    x = row_um - x if int(row) % 2 else x
    return x, row * down_um + max(0.0, along_um - row_um)


def _wander(seed: int, index: int) -> float:
    """A smooth function of the index with mean 0 and rms about 1."""
    phases = np.random.default_rng((seed, 2)).uniform(0.0, 2.0 * math.pi, len(_WAVES))
    total = sum(a * math.sin(w * index + float(p)) for (w, a), p in zip(_WAVES, phases, strict=True))
    return total / math.sqrt(0.5 * sum(a * a for _, a in _WAVES))
