"""Pictures for the tests of whole commands: fields drawn by the phantom, and files that no one should count."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

WIDTH, HEIGHT = 640, 480
PIXEL_UM = Options().pixel_um


@lru_cache(maxsize=1)
def _drawn() -> tuple[NDArray[np.uint8], ...]:
    with PhantomSource(Options(width=WIDTH, height=HEIGHT, frames=3)) as source:
        return tuple(frame.image for _ in range(3) if (frame := source.read(1.0)))


def field(index: int) -> NDArray[np.uint8]:
    """One of three fields, RGB uint8 (HEIGHT, WIDTH, 3), the same in every run."""
    return _drawn()[index]


def write_fields(folder: Path, count: int) -> list[Path]:
    """field0.png, field1.png ... in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"field{index}.png" for index in range(count)]
    for index, file in enumerate(files):
        file.write_bytes(encoded(".png", field(index)[..., ::-1]))
    return files


def encoded(suffix: str, pixels: NDArray[np.generic]) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(pixels))
    assert done
    return data.tobytes()


def bad_images() -> dict[str, tuple[str, bytes, str]]:
    """What -> file name, its bytes, words that say what is wrong with it."""
    picture = np.full((64, 96, 3), (200, 180, 90), np.uint8)
    jpeg = encoded(".jpg", picture)
    return {
        "truncated JPEG": ("cut.jpg", jpeg[: len(jpeg) // 2], "truncated JPEG"),
        "16 bits": ("deep.png", encoded(".png", picture.astype(np.uint16) * 257), "16 bits"),
        "grey": ("grey.png", encoded(".png", picture[..., 0]), "is grey"),
        "CMYK": ("ink.jpg", _four_components(jpeg), "CMYK"),
        "zero bytes": ("nothing.jpg", b"", "empty"),
        "text": ("letter.jpg", b"Dear colleague, the smear is in the post.\n" * 20, "cannot be decoded"),
        "one pixel": ("dot.png", encoded(".png", picture[:1, :1]), "1x1 px"),
    }


def _four_components(jpeg: bytes) -> bytes:
    """The JPEG with a frame header that tells of four components, as a CMYK one's does; the file stays well formed."""
    place = jpeg.index(b"\xff\xc0")
    size = int.from_bytes(jpeg[place + 2 : place + 4], "big")
    header = bytearray(jpeg[place : place + 2 + size])
    header[9] = 4
    header[2:4] = (size + 3).to_bytes(2, "big")
    return jpeg[:place] + bytes(header) + bytes((4, 0x11, 0)) + jpeg[place + 2 + size :]
