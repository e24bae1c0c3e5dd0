"""Another slide, another stain, another microscope: what training does to a cell so that the network reads the cell alone.

Geometry and background act on one cell; stain, lamp and optics act on the finished crop. The result is a uint8 crop like those
that `edgecell.preprocess.cut` makes, and goes through the same `to_batch`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.recipe import Augment
from edgecell.preprocess import Preprocess, cut, white_point

Image = NDArray[np.uint8]
BASE_UM, BASE_PX = 26.0, 208  # a window that still fills the crop when shifted and shrunk
OVERSAMPLE = 2  # warp at twice the network's resolution, then average down as `cut` does
DYES = np.array([[0.85, 0.50, 0.10], [0.07, 0.92, 0.38], [0.05, 0.35, 0.93]])
"""What azure B, eosin Y and haemoglobin take from red, green and blue light: rows of about unit length, read off their
absorption bands (650, 520 and 415 nm). They need not be exact: they only say which densities vary together."""
TYPICAL_DENSITY = 0.5
"""Natural logarithm: between pale cytoplasm and nucleus. Bent densities stay as they are here."""

COARSEST_UM = 0.5
"""A pixel of the worst camera and objective: two to a platelet's radius, below which no one counts cells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """A cell ready for augmentation: RGB uint8 (BASE_PX, BASE_PX, 3) and its mask uint8 0/255, None where none was found."""

    image: Image
    mask: Image | None


def base_window(image: Image, centre_px: tuple[float, float], pixel_um: float) -> Image:
    """The window of BASE_UM around the cell."""
    return cut(image, centre_px, pixel_um, BASE_UM, BASE_PX)


def crop(rng: np.random.Generator, cell: Base, behind: Base | None, spec: Preprocess, how: Augment) -> Image:
    """One augmented crop, uint8 (size_px, size_px, 3). behind: a window whose surroundings replace the cell's own."""
    matrix = _affine(rng, spec, how)
    image = _warp(cell.image, matrix, spec)
    if rng.random() < how.plain:
        return image
    if behind is not None and cell.mask is not None:
        soft = cv2.GaussianBlur(_warp(cell.mask, matrix, spec), (0, 0), 0.8)[:, :, None] / np.float32(255)
        image = _blend(image, _warp(behind.image, _affine(rng, spec, how), spec), soft)
    return appearance(rng, image, spec, how)


def appearance(rng: np.random.Generator, image: Image, spec: Preprocess, how: Augment) -> Image:
    """A finished crop in another stain, under another lamp, through other optics; alike for crops that get like generators."""
    return _optics(rng, _stain(rng, image, how), spec, how)


def _affine(rng: np.random.Generator, spec: Preprocess, how: Augment) -> NDArray[np.float64]:
    """2x3 matrix from the output (oversampled crop) to the base window: turn, mirror, scale, shift."""
    size = spec.size_px * OVERSAMPLE
    base_per_um = BASE_PX / BASE_UM
    zoom = spec.crop_um / size * base_per_um * np.exp(rng.uniform(-how.scale, how.scale))
    angle = rng.uniform(0, 2 * np.pi)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= rng.choice((-1, 1))
    middle = (BASE_PX - 1) / 2 + rng.uniform(-how.shift_um, how.shift_um, 2) * base_per_um
    return np.hstack([turn, (middle - turn @ [(size - 1) / 2, (size - 1) / 2])[:, None]])


def _warp(image: Image, matrix: NDArray[np.float64], spec: Preprocess) -> Image:
    size = spec.size_px * OVERSAMPLE
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(large, (spec.size_px, spec.size_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _blend(cell: Image, behind: Image, soft: NDArray[np.float32]) -> Image:
    """The cell over another background that is brought to the same white."""
    ratio = white_point(cell[None]) / white_point(behind[None])
    mixed: Image = np.clip(cell * soft + behind * ratio * (1 - soft) + 0.5, 0, 255).astype(np.uint8)
    return mixed


def _stain(rng: np.random.Generator, image: Image, how: Augment) -> Image:
    """Another stain (optical densities mixed and scaled) under another lamp and white balance."""
    white = white_point(image[None])[0]
    density = -np.log(np.maximum(image, 1) / white)
    density = _bent(density, float(np.exp(rng.normal(0, how.tone))))
    mixing = np.eye(3) + rng.normal(0, how.stain, (3, 3))
    mixing *= np.exp(rng.normal(0, how.density)) * np.exp(rng.normal(0, how.channels, 3))
    mixing = np.linalg.inv(DYES) @ np.diag(np.exp(rng.normal(0, how.dyes, 3))) @ DYES @ mixing
    if rng.random() < how.grey:
        mixing = np.full((3, 3), mixing.sum() / 9)
    seen = np.exp(-density.reshape(-1, 3) @ mixing.astype(np.float32)).reshape(image.shape)
    lamp = _lamp(rng) if rng.random() < how.light else white
    lit: Image = np.clip(seen * lamp + 0.5, 0, 255).astype(np.uint8)
    return lit


def _bent(density: NDArray[np.float32], exponent: float) -> NDArray[np.float32]:
    """Densities as a camera with another tone curve has them; what is brighter than the background stays."""
    ratio = np.maximum(density, 0) / np.float32(TYPICAL_DENSITY)
    bent: NDArray[np.float32] = np.where(density > 0, np.float32(TYPICAL_DENSITY) * ratio ** np.float32(exponent), density)
    return bent


def _lamp(rng: np.random.Generator) -> NDArray[np.float64]:
    """A background colour: dim to overexposed, its channels apart by up to half, as yellow halogen light makes them."""
    level = rng.uniform(110, 275)
    tint = 1 - rng.uniform(0, 0.5) * rng.dirichlet((1, 1, 1))
    return np.asarray(level * tint / tint.max(), dtype=np.float64)


def _optics(rng: np.random.Generator, image: Image, spec: Preprocess, how: Augment) -> Image:
    """Another objective and camera: blur, lost resolution, sharpening, noise, JPEG."""
    pixel_um = spec.crop_um / spec.size_px
    sigma = rng.uniform(0, how.blur_um) / pixel_um
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8, copy=False)
    if rng.random() < how.coarse:
        small = round(spec.size_px * rng.uniform(min(1.0, pixel_um / COARSEST_UM), 1.0))
        shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(shrunk, image.shape[:2], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    if rng.random() < how.sharpen:
        amount = rng.uniform(0.3, 1.5)
        image = cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0).astype(
            np.uint8, copy=False
        )
    if rng.random() < how.noise:
        grain = rng.normal(0, rng.uniform(1, 8), image.shape).astype(np.float32)
        image = np.clip(image + grain + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < how.jpeg:
        _, packed = cv2.imencode(".jpg", image[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))))
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB), np.uint8)
    return image
