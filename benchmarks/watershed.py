"""scikit-image's watershed as a segmenter: the textbook way, for a comparison.

Otsu's thresholds in the green channel tell background, cells and nuclei apart; nuclei are dark in the red channel too. Seeds
are the nuclei, and elsewhere the peaks of the distance to the background; the watershed of that distance parts what touches.
A cell is nucleated where a fifth of it is nucleus, and a platelet where it is a nucleus as small as a third of a usual cell.
Lengths are shares of the field's own usual cell, so it needs no scale. The numbers were chosen on train fields of TXL-PBC.
"""

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import feature, filters, measure, segmentation
from skimage.morphology import isotropic_closing, isotropic_opening
from typing_extensions import Self

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Cell, Frame, Segmentation
from edgecell.protocols import Probe

LEAST_PX = 30
NUCLEUS_LIGHT = 0.85
"""Of the background's light in the red channel."""
NUCLEUS_SHARE = 0.2
PLATELET_SHARE = 0.35
SEED_SHARE = 0.55


class WatershedSegmenter:
    """Whole frames at full resolution, one thread. See `edgecell.protocols.Segmenter`; its scale stays unknown."""

    kinds: tuple[str, ...] = (NUCLEATED, RED_BLOOD_CELL, PLATELET)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        return None

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="scikit-image")

    def segment(self, frame: Frame) -> Segmentation:
        """Every cell of the frame."""
        green = filters.gaussian(frame.image[..., 1], 1.5, preserve_range=True).astype(np.uint8)
        dark, bright = filters.threshold_multiotsu(green, 3).tolist()
        cells = ndimage.binary_fill_holes(isotropic_opening(green < bright, 2))
        red = filters.gaussian(frame.image[..., 0], 1.5, preserve_range=True)
        empty = float(np.median(red[~cells])) if not cells.all() else 255.0
        nuclei = isotropic_opening((green < dark) & (red < NUCLEUS_LIGHT * empty), 2) & cells
        labels = _parted(cells, nuclei)
        found = [each for each in measure.regionprops(labels, nuclei.astype(np.uint8)) if each.area >= LEAST_PX]
        typical = float(np.median([each.area for each in found])) if found else 0.0
        return Segmentation(
            cells=tuple(_cell(frame, index, each, typical) for index, each in enumerate(found)),
            pixel_um=None,
            pixel_um_source="unknown",
        )


def _parted(cells: NDArray[np.bool_], nuclei: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Labels (H, W), 0 for the background."""
    distance = filters.gaussian(ndimage.distance_transform_edt(cells), 1.0)
    peaks = feature.peak_local_max(distance, min_distance=3, threshold_abs=2.0)
    typical = float(np.percentile(distance[tuple(peaks.T)], 75)) if len(peaks) else 1.0
    apart = max(3, round(SEED_SHARE * typical))
    seeds = measure.label(isotropic_closing(nuclei, max(2, apart // 2)))
    near = ndimage.distance_transform_edt(seeds == 0) <= apart
    peaks = feature.peak_local_max(distance, min_distance=apart, threshold_abs=0.4 * typical)
    free = peaks[~near[tuple(peaks.T)]]
    seeds[tuple(free.T)] = np.arange(len(free)) + seeds.max() + 1
    parted: NDArray[np.int32] = segmentation.watershed(-distance, seeds, mask=cells)
    return parted


def _cell(frame: Frame, index: int, found: Any, typical: float) -> Cell:
    """found: of scikit-image's regionprops, its intensities 1 where there is nucleus."""
    top, left, bottom, right = found.bbox
    kind = NUCLEATED if found.intensity_mean >= NUCLEUS_SHARE else RED_BLOOD_CELL
    if kind == NUCLEATED and found.area < PLATELET_SHARE * typical:
        kind = PLATELET
    y, x = found.centroid
    return Cell(
        frame_index=frame.index,
        cell_index=index,
        kind=kind,
        box_px=(left, top, right, bottom),
        centre_px=(float(x), float(y)),
    )
