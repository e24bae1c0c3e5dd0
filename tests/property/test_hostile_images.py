"""A damaged image file is a frame that cannot be used, or its pixels are there; it takes neither for ever nor all memory."""

import functools
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile import damaged, fuzz, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from pictures import bad_images, encoded

from edgecell.errors import FrameCorrupt
from edgecell.imagefile import decoded
from edgecell.imagesize import declared_px
from edgecell.sources.images import ImagesOptions, ImagesSource

SUFFIXES = [".png", ".jpg", ".bmp", ".tif", ".webp", ".jp2", ".ppm"]
TOKENS = [
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xc0",
    b"\xff" * 8,
    b"\0" * 8,
    b"IHDR",
    b"IEND",
    b"\x7f\xff\xff\xff",
    b"9" * 20,
]


@functools.cache
def pictures() -> dict[str, bytes]:
    pixels = np.random.default_rng(5).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    return {suffix: encoded(suffix, cv2.GaussianBlur(pixels, (0, 0), 3)) for suffix in SUFFIXES}


def looked_at(data: bytes) -> None:
    image = decoded(data, "field")
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert min(image.shape[:2]) >= 16


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whole_images_are_read(suffix: str) -> None:
    assert read_or_refused(lambda: looked_at(pictures()[suffix])) is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
@fuzz
def test_damaged_images(suffix: str, data: st.DataObject) -> None:
    raw = data.draw(damaged(pictures()[suffix], TOKENS))
    read_or_refused(lambda: looked_at(raw))


@given(data=st.data())
@fuzz
def test_damaged_png_with_right_check_sums(data: st.DataObject) -> None:
    """A decoder that trusts the check sums meets what stands behind them."""
    header = data.draw(damaged(struct.pack(">IIBBBBB", 40, 56, 8, 2, 0, 0, 0), TOKENS))
    body = data.draw(damaged(zlib.compress(bytes(40 * 56 * 3 + 40)), TOKENS))
    chunks = [
        (b"IHDR", header),
        (data.draw(st.sampled_from([b"PLTE", b"tRNS", b"eXIf", b"iCCP"])), header),
        (b"IDAT", body),
        (b"IEND", b""),
    ]
    raw = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        raw += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    read_or_refused(lambda: looked_at(raw))


@given(data=st.data())
@fuzz
def test_bad_images_that_are_worse(data: st.DataObject) -> None:
    _, whole, _ = data.draw(st.sampled_from(sorted(bad_images().values())))
    raw = data.draw(damaged(whole or b"\0", TOKENS))
    read_or_refused(lambda: looked_at(raw))


def png(width: int, height: int) -> bytes:
    """Black, with right check sums: a few kilobytes for each hundred megapixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    body = b"".join(packer.compress(row) for _ in range(min(height, 30))) + packer.flush()
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    made = (struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def huge() -> dict[str, bytes]:
    """Small files that say they are of 16,383 x 16,383 pixels, which is 0.8 GB."""
    side = 16_383
    jpeg = bytearray(pictures()[".jpg"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    bmp = bytearray(pictures()[".bmp"])
    bmp[18:26] = struct.pack("<ii", side, side)
    webp = bytearray(pictures()[".webp"])
    return {
        "png": png(side, side),
        "jpeg": bytes(jpeg),
        "bmp": bytes(bmp),
        "tif": _tiff(side),
        "jp2": pictures()[".jp2"].replace(struct.pack(">II", 40, 56), struct.pack(">II", side, side)),
        "ppm": f"P6\n{side} {side}\n255\n".encode() + bytes(1000),
        "webp": bytes(webp[:12])
        + b"VP8X"
        + struct.pack("<IB3x", 10, 0)
        + struct.pack("<I", side - 1)[:3] * 2
        + bytes(webp[12:]),
    }


def _tiff(side: int) -> bytes:
    entries = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, 8), (277, 3, 3), (278, 4, side)]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*entries, (279, 4, 3 * side * side)])
    return b"II*\0" + struct.pack("<IH", 8, 9) + packed + bytes(1000)


@pytest.mark.parametrize("kind", huge())
def test_an_image_that_says_it_is_huge(kind: str) -> None:
    refused = read_or_refused(lambda: looked_at(huge()[kind]))
    assert isinstance(refused, FrameCorrupt)
    assert "by its header" in refused.what


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".jpg"])
def test_the_size_that_a_file_declares_is_its_size(suffix: str) -> None:
    assert declared_px(pictures()[suffix]) == 40 * 56


@given(data=st.data())
@fuzz
def test_damaged_videos(tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / "whole.avi"
    if not whole.exists():
        writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        for level in (10, 100, 200):
            writer.write(np.full((48, 64, 3), level, np.uint8))
        writer.release()
    file = tmp_path / "field.avi"
    file.write_bytes(data.draw(damaged(whole.read_bytes(), TOKENS)))

    def watched() -> None:
        with ImagesSource(ImagesOptions(path=file)) as source:
            for _ in range(50):
                with suppress(FrameCorrupt):
                    if source.read(1) is None:
                        return

    read_or_refused(watched)
