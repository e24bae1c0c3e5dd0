"""One image file -> RGB pixels, or a reason why not.

A decoder that fills what is missing with grey would turn a damaged file into wrong counts, so files are checked for being whole
before they are decoded. What can only be read with a guess (16 bits of unknown range, ink colours) is refused.
"""

import re
import zlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.imagesize import declared_px

SUFFIXES: Final = frozenset({".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MIN_SIDE_PX: Final = 16  # smaller than any cell at any scale in use
MOST_PIXELS: Final = 120_000_000  # 360 MB as RGB; the largest sensors of microscope cameras have 65 million

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# In compressed JPEG data 0xff stands before 0x00 (a stuffed byte), 0xd0-0xd7 (restart) or 0xff (fill); else it ends the scan.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS, _EOI = 0xDA, 0xD9
_RGB_FIX: Final = "save it as an 8-bit RGB image"


def load_image(path: Path, index: int = 0) -> NDArray[np.uint8]:
    """The pixels of an image file: uint8 (height, width, 3), RGB, owned by the caller.

    Transparency is laid on white. The orientation tag is ignored: boxes are in the file's own pixels. Raises FrameCorrupt with
    `index`; also for a grey image, whose cells carry no stain to be told apart by.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrameCorrupt(f"{path}: cannot be read ({error.strerror})", fix="check its permissions", index=index) from error
    return decoded(data, str(path), index)


def decoded(data: bytes, name: str, index: int = 0) -> NDArray[np.uint8]:
    """The same from the content of an image file; `name` is named in errors."""
    fault = _fault(data)
    if fault:
        raise FrameCorrupt(f"{name}: {fault[0]}", fix=fault[1], index=index)
    pixels = _decoded(data)
    if pixels is None:
        raise FrameCorrupt(f"{name}: cannot be decoded as an image", fix="replace it by a whole image file", index=index)
    unfit = _unfit(pixels)
    if unfit:
        raise FrameCorrupt(f"{name}: {unfit[0]}", fix=unfit[1], index=index)
    return _rgb(pixels.astype(np.uint8, copy=False))


def whole_jpeg(data: bytes | memoryview) -> bool:
    """Whether it is a JPEG with its end, whatever follows: cameras fill up what they send."""
    return data[: len(_JPEG)] == _JPEG and _jpeg_facts(data)[0]


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sorting key that reads numbers as numbers: field2 before field10."""
    pieces = re.split(r"(\d+)", path.as_posix().lower())
    return [(0, int(piece)) if piece.isdigit() else (1, piece) for piece in pieces]


def listed(path: Path) -> list[Path]:
    """The file itself, or the images of a folder and its subfolders in natural order, hidden ones left out.

    Raises SourceUnavailable when there is nothing at `path`, no image in it, or no way to look.
    """
    try:
        return _listed(path)
    except OSError as error:  # a name that is too long, a folder that others may list and not enter
        raise SourceUnavailable(f"{path}: {error.strerror}", fix="check the path and its permissions") from None


def _listed(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceUnavailable(f"{path}: no such file or folder", fix="check the path")
    if path.is_file():
        return [path]
    found = [
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file() and not _hidden(file.relative_to(path))
    ]
    if not found:
        kinds = " ".join(sorted(SUFFIXES))
        raise SourceUnavailable(f"{path}: holds no images", fix=f"give a folder with files of these kinds: {kinds}")
    return sorted(found, key=lambda file: (natural(file.relative_to(path)), file.as_posix()))


def _hidden(relative: Path) -> bool:
    """Leftovers of desktops, such as `._field1.jpg`."""
    return any(part.startswith(".") for part in relative.parts)


def _fault(data: bytes) -> tuple[str, str] | None:
    """What is wrong with a file as a file, and the fix."""
    whole = "copy it again from the microscope: its end is missing"
    pixels = declared_px(data)
    if not data:
        return "is empty (0 bytes)", whole
    if data.startswith(_JPEG):
        complete, components, pixels = _jpeg_facts(data)
        if not complete:
            return "is a truncated JPEG", whole
        if components == 4:
            return "is a CMYK JPEG, whose colours depend on an ink profile", _RGB_FIX
    if data.startswith(_PNG) and not _png_whole(data):
        return "is a truncated or damaged PNG", whole
    if pixels > MOST_PIXELS:
        return f"has {pixels} pixels by its header, more than {MOST_PIXELS}", "cut it into fields"
    return None


def _jpeg_facts(data: bytes | memoryview) -> tuple[bool, int, int]:
    """(has its end marker, number of colour components, pixels). Segments are stepped over: a thumbnail has an end marker
    too."""
    place, components, pixels = 2, 0, 0
    while place + 4 <= len(data) or data[place : place + 2] == bytes((0xFF, _EOI)):
        marker = data[place + 1]
        if data[place] != 0xFF:
            return False, components, pixels
        if marker == 0xFF:
            place += 1
            continue
        if marker == _EOI:
            return True, components, pixels
        if marker in _SOF and place + 9 < len(data):
            components = data[place + 9]
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (place + 5, place + 7))
            pixels = max(pixels, height * width)
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == _SOS:
            end = _SCAN_END.search(data, place)
            if end is None:
                return False, components, pixels
            place = end.start()
    return False, components, pixels


def _png_whole(data: bytes) -> bool:
    """Whether every chunk up to the last one is there with its check sum."""
    place = len(_PNG)
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + size]
        check = data[place + 8 + size : place + 12 + size]
        if len(check) < 4 or zlib.crc32(body) != int.from_bytes(check, "big"):
            return False
        if body.startswith(b"IEND"):
            return True
        place += 12 + size
    return False


def _decoded(data: bytes) -> NDArray[np.generic] | None:
    """As stored: any depth, 1, 3 (BGR) or 4 (BGRA) channels. None where OpenCV cannot."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        found: NDArray[np.generic] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    return found


def _unfit(pixels: NDArray[np.generic]) -> tuple[str, str] | None:
    """Why decoded pixels cannot be used, and the fix."""
    height, width = pixels.shape[:2]
    if pixels.dtype != np.uint8:
        bits = pixels.dtype.itemsize * 8
        return f"has {bits} bits a channel, and nothing says which of them the camera used", "convert it to 8 bits a channel"
    if min(height, width) < MIN_SIDE_PX:
        return f"is {width}x{height} px, too small to hold a cell", f"give images of at least {MIN_SIDE_PX}x{MIN_SIDE_PX} px"
    if pixels.ndim == 2:
        return "is grey, so its cells carry no stain to be told apart by", "use a colour image"
    if pixels.shape[2] not in (3, 4):
        return f"has {pixels.shape[2]} channels", _RGB_FIX
    return None


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rgb = np.ascontiguousarray(pixels[:, :, 2::-1])
    if pixels.shape[2] == 4 and int(pixels[:, :, 3].min()) < 255:
        opaque = pixels[:, :, 3:].astype(np.float32) / np.float32(255.0)
        rgb = np.round(rgb * opaque + 255.0 * (1.0 - opaque)).astype(np.uint8)
    return rgb


def portrait(image: NDArray[np.uint8], box_px: tuple[int, int, int, int]) -> bytes:
    """A PNG of what is in a box and a quarter of its longer side around it, as far as the frame reaches.

    image: uint8 (H, W, 3) RGB. box_px: x0, y0, x1, y1, half-open.
    """
    x0, y0, x1, y1 = box_px
    beside = max(x1 - x0, y1 - y0) // 4
    part = image[max(0, y0 - beside) : y1 + beside, max(0, x0 - beside) : x1 + beside]
    done, png = cv2.imencode(".png", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_PNG_COMPRESSION, 3))
    if not done:
        raise ValueError(f"a picture of {part.shape} cannot be made")
    return png.tobytes()
