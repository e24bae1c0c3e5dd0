"""Pictures for the tests of the optics, drawn: clear background, a stage micrometer's lines."""

import cv2
import numpy as np
from numpy.typing import NDArray


def vignetted(size: tuple[int, int], share: float) -> NDArray[np.float64]:
    """(height, width) of (width, height) px: 1 in the middle, a little off it, less by `share` in the corners."""
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    return np.asarray(1 - share * ((x - 0.1) ** 2 + (y + 0.05) ** 2) / 2, np.float64)


def clear_picture(
    size: tuple[int, int], seed: int, level: tuple[float, float, float] = (230.0, 215.0, 190.0), share: float = 0.3
) -> NDArray[np.uint8]:
    """A place without cells, with the noise of a camera."""
    noise = np.random.default_rng(seed).normal(0, 2.5, (size[1], size[0], 3))
    return np.clip(vignetted(size, share)[:, :, None] * level + noise, 0, 255).astype(np.uint8)


def ruled(
    pixel_um: tuple[float, float], turn_deg: float, size: tuple[int, int] = (720, 540), pitch_um: float = 10.0
) -> NDArray[np.uint8]:
    """Lines 2 um wide, pitch_um apart; turn_deg: of the direction across them against the rows, in micrometres."""
    y, x = np.mgrid[: size[1], : size[0]]
    turn = np.radians(turn_deg)
    place = (x * pixel_um[0] * np.cos(turn) + y * pixel_um[1] * np.sin(turn) + 3.3) / pitch_um
    dark = np.clip((1.0 - np.abs(place - np.rint(place)) * pitch_um) / min(pixel_um) + 0.5, 0, 1)
    picture = (225 - 135 * dark) * vignetted(size, 0.25)
    noise = np.random.default_rng(round(abs(turn_deg) * 10)).normal(0, 4, picture.shape)
    soft = cv2.GaussianBlur(picture, (0, 0), 1.5) + noise
    return np.repeat(np.clip(soft, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
