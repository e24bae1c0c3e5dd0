"""Which cells lie too near the frame's border to count."""

from collections.abc import Mapping

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Exclusion, Kind

LARGEST_RADIUS_UM: Mapping[Kind, float] = {NUCLEATED: 10.0, RED_BLOOD_CELL: 4.5, PLATELET: 2.0}
"""A cell counts when its centre is at least this far inside the frame: every counted cell is whole, and the field in which
large cells are counted is not smaller than they are."""


def excluded(
    kind: Kind, box: tuple[int, int, int, int], centre: tuple[float, float], size: tuple[int, int], um: float | None
) -> Exclusion | None:
    """`edge` unless the centre is a largest radius inside a frame of size (width, height) at um per pixel.

    Where the scale is unknown, or how large such cells get: unless the box keeps off the border.
    """
    radius_um = LARGEST_RADIUS_UM.get(kind)
    if um is None or radius_um is None:
        inside = box[0] > 0 and box[1] > 0 and box[2] < size[0] and box[3] < size[1]
    else:
        inset = radius_um / um
        inside = inset <= centre[0] <= size[0] - inset and inset <= centre[1] <= size[1] - inset
    return None if inside else "edge"
