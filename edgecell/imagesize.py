"""How many pixels an image file says that it has: one of some kilobytes may unpack to gigabytes, and decoders ask nobody."""

import re
import struct
from collections.abc import Iterator

_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]{0,1000}\n)+(\d{1,9})(?:\s|#[^\n]{0,1000}\n)+(\d{1,9})")
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF 6.0, section 4


def declared_px(data: bytes) -> int:
    """Width times height by the file's own header; the largest where several could be meant, 0 where none is found.

    Of JPEG nothing is found here: edgecell.imagefile walks through its segments.
    """
    return max((width * height for width, height in _sizes(data)), default=0)


def _sizes(data: bytes) -> Iterator[tuple[int, int]]:
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        yield struct.unpack(">II", data[16:24])
    elif data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        yield abs(width), abs(height)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        yield from _webp(data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        yield from _tiff(data, "<" if data.startswith(b"I") else ">")
    elif (at := data.find(b"ihdr", 0, 1000)) >= 0 and len(data) >= at + 12:  # JPEG 2000
        yield struct.unpack(">II", data[at + 4 : at + 12])
    elif (found := _PNM.match(data)) is not None:
        yield int(found[1]), int(found[2])


def _webp(data: bytes) -> Iterator[tuple[int, int]]:
    """Of the canvas, and of the picture in it (RFC 9649)."""
    if data[12:16] == b"VP8X" and len(data) >= 30:
        yield 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    for found in re.finditer(rb"VP8 .{7}\x9d\x01\x2a(..)(..)", data, re.DOTALL):
        yield int.from_bytes(found[1], "little") & 0x3FFF, int.from_bytes(found[2], "little") & 0x3FFF
    for found in re.finditer(rb"VP8L.{4}\x2f(.{4})", data, re.DOTALL):
        bits = int.from_bytes(found[1], "little")
        yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


def _tiff(data: bytes, order: str) -> Iterator[tuple[int, int]]:
    """Of the first directory: the only one that is read."""
    (at,) = struct.unpack(f"{order}I", data[4:8].ljust(4, b"\0"))
    (entries,) = struct.unpack(f"{order}H", data[at : at + 2].ljust(2, b"\0"))
    found = {}
    for place in range(at + 2, min(at + 2 + 12 * entries, len(data) - 11), 12):
        tag, kind = struct.unpack(f"{order}HH", data[place : place + 4])
        value = data[place + 8 : place + 12]
        found[tag] = struct.unpack(f"{order}H", value[:2])[0] if kind == 3 else struct.unpack(f"{order}I", value)[0]
    if _WIDTH in found and _HEIGHT in found:
        yield found[_WIDTH], found[_HEIGHT]
