"""The gate: is a frame worth looking at? It refuses what nobody could count (dark, overexposed, empty) and measures the rest.

Focus is measured and reported, not judged: no number says "sharp" for every microscope and stain.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.messages import Frame, Verdict

DARK, OVEREXPOSED, EMPTY = "dark", "overexposed", "empty"

_CLIPPED = 254  # grey value that counts as clipped: JPEG turns a 255 into a 254 now and then
_SIDE = 512  # px, longer side that focus is measured at: noise of single pixels averages out, cell borders stay
_FOCUS_SIGMA = 1.5  # px of those
_STRUCTURE_SIDE = 256  # px, longer side that structure is looked for at: a platelet is still 2-4 px
_SURROUNDINGS = 6.0  # px of those, sigma: about a cell; wider would take vignetting for structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a frame must keep to. Set wide: a frame refused wrongly is cells lost, one let through is judged cell by cell.

    mean_level: least mean of all channels, 0-1. Below 0.08 the lamp is off, the shutter closed or the lens covered; 1168 real
    fields (TXL-PBC) lie at 0.33 to 0.90.
    saturated_fraction: most pixels clipped in all three channels, 0-1. Many microscopes are set up with the clear background at
    255, which harms nothing, so only a frame that is almost wholly clipped is refused.
    structure: least difference of anything in the frame to its surroundings, in grey values of 255. The same 1168 fields reach
    at least 36; an empty field with a third of vignetting, noise of 4 grey values and JPEG stays below 6.
    """

    mean_level: float = 0.08
    saturated_fraction: float = 0.98
    structure: float = 10.0


def judge(frame: Frame, limits: Limits) -> Verdict:
    """Measure one frame and say whether it goes on. reason: "" if accepted, else DARK, OVEREXPOSED or EMPTY."""
    clipped = cv2.inRange(frame.image, np.full(3, _CLIPPED), np.full(3, 255))
    saturated = cv2.countNonZero(clipped) / clipped.size
    small = _shrink(frame.image, _SIDE)
    green = np.ascontiguousarray(small[..., 1])
    level = float(np.mean(cv2.mean(small)[:3])) / 255
    reason = ""
    if level < limits.mean_level:
        reason = DARK
    elif saturated > limits.saturated_fraction:
        reason = OVEREXPOSED
    elif structure(green) < limits.structure:
        reason = EMPTY
    return Verdict(accepted=not reason, reason=reason, focus=focus(green), mean_level=level, saturated_fraction=saturated)


def focus(green: NDArray[np.uint8]) -> float:
    """Sharpness of one channel, uint8 (H, W), longer side 512 px or less; unitless, in thousandths, >= 0.

    The variance of the Laplacian, the classic focus measure (Pech-Pacheco et al., ICPR 2000, 10.1109/ICPR.2000.903548), of the
    image smoothed by 1.5 px, so that camera noise is not taken for sharpness, over the variance of the grey values, so that it
    hardly depends on how many cells a field holds or how strong the stain is. On 16 real fields it fell at every step of blur
    (sigma 0, 1, 2, 4, 8 px), to a tenth in all, with and without noise of 4 grey values; without the smoothing it did not.
    Comparable only between frames of one camera and magnification. Green, since haemoglobin, eosin and azure absorb there.
    """
    variance = float(np.var(green))
    if variance == 0.0:
        return 0.0
    smooth = cv2.GaussianBlur(green.astype(np.float32), (0, 0), _FOCUS_SIGMA)
    return 1000 * float(np.var(cv2.Laplacian(smooth, cv2.CV_32F, ksize=1))) / variance


def structure(green: NDArray[np.uint8]) -> float:
    """Largest difference of one channel, uint8 (H, W), to its surroundings, in grey values, after averaging noise away."""
    small = _shrink(green, _STRUCTURE_SIDE).astype(np.float32)
    surroundings = cv2.GaussianBlur(small, (0, 0), _SURROUNDINGS, borderType=cv2.BORDER_REPLICATE)
    return float(np.abs(small - surroundings).max())


def _shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image averaged over blocks of pixels, so that its longer side is at most `side` px."""
    height, width = image.shape[:2]
    factor = -(-max(height, width) // side)
    if factor == 1:
        return image
    size = max(1, width // factor), max(1, height // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
