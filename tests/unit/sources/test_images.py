"""Images from files, the good ones and the bad ones. All pictures are made here."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.imagefile import load_image
from edgecell.sources.images import ImagesOptions, ImagesSource

# Two colours side by side: (200, 60, 30) RGB on the left, (20, 80, 180) on the right.
PICTURE: NDArray[np.uint8] = np.zeros((64, 96, 3), np.uint8)
PICTURE[:, :48], PICTURE[:, 48:] = (200, 60, 30), (20, 80, 180)


def encoded(suffix: str, pixels: NDArray[np.generic] = PICTURE[:, :, ::-1], *flags: int) -> bytes:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(pixels), flags)
    assert done
    return data.tobytes()


def source_of(path: Path) -> ImagesSource:
    return ImagesSource(ImagesOptions(path=path))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm", ".webp", ".jpg"])
def test_colours_come_out_as_rgb(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"field{suffix}"
    file.write_bytes(encoded(suffix))
    image = load_image(file)
    assert image.shape == (64, 96, 3)
    assert image[10, 10] == pytest.approx(PICTURE[10, 10], abs=12)
    assert image[10, 90] == pytest.approx(PICTURE[10, 90], abs=12)


def test_progressive_jpeg_and_a_tail_after_its_end(tmp_path: Path) -> None:
    file = tmp_path / "field.jpg"
    file.write_bytes(encoded(".jpg", PICTURE[:, :, ::-1], cv2.IMWRITE_JPEG_PROGRESSIVE, 1) + b"\0\0tail")
    assert load_image(file).shape == (64, 96, 3)


def test_jpeg_cut_after_its_thumbnail_is_truncated(tmp_path: Path) -> None:
    whole, thumbnail = encoded(".jpg"), encoded(".jpg", PICTURE[:16, :16])
    block = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    file = tmp_path / "field.jpg"
    file.write_bytes(whole[:2] + block + whole[2:])
    assert load_image(file).shape == (64, 96, 3)
    file.write_bytes((whole[:2] + block + whole[2:])[:-20])
    with pytest.raises(FrameCorrupt, match="truncated JPEG"):
        load_image(file)


def cmyk_jpeg() -> bytes:
    """A JPEG whose frame header tells of four components."""
    data = bytearray(encoded(".jpg"))
    place = data.index(b"\xff\xc0")
    data[place + 9] = 4
    return bytes(data)


BAD: dict[str, tuple[str, bytes, str]] = {
    "truncated JPEG": ("bad.jpg", encoded(".jpg")[:-40], "truncated JPEG"),
    "half a JPEG": ("bad.jpg", encoded(".jpg")[:300], "truncated JPEG"),
    "CMYK": ("bad.jpg", cmyk_jpeg(), "CMYK"),
    "truncated PNG": ("bad.png", encoded(".png")[:-30], "truncated or damaged PNG"),
    "flipped byte in a PNG": ("bad.png", encoded(".png")[:60] + b"\x55\xaa" + encoded(".png")[62:], "damaged PNG"),
    "truncated BMP": ("bad.bmp", encoded(".bmp")[:400], "cannot be decoded"),
    "zero bytes": ("bad.png", b"", "empty"),
    "text": ("bad.jpg", b"this is no picture at all\n" * 20, "cannot be decoded"),
    "one pixel": ("bad.png", encoded(".png", PICTURE[:1, :1]), "too small"),
    "16 bits": ("bad.png", encoded(".png", PICTURE.astype(np.uint16) * 257), "16 bits"),
    "float": ("bad.tiff", encoded(".tiff", PICTURE.astype(np.float32)), "32 bits"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_bad_file_is_one_failed_frame_with_its_name_and_a_fix(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    name, data, reason = BAD[case]
    (tmp_path / name).write_bytes(data)
    for good in ("a.png", "z.png"):
        (tmp_path / good).write_bytes(encoded(".png"))
    with source_of(tmp_path) as source:
        first = source.read(0.0)
        with pytest.raises(FrameCorrupt, match=reason) as caught:
            source.read(0.0)
        last = source.read(0.0)
        assert source.read(0.0) is None
    assert first is not None
    assert last is not None
    assert (first.index, caught.value.index, last.index) == (0, 1, 2)
    assert name in caught.value.what
    assert caught.value.fix
    assert "[ERROR" not in capfd.readouterr().err


def test_a_grey_image_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    file.write_bytes(encoded(".png", PICTURE[:, :, 0]))
    with pytest.raises(FrameCorrupt, match=r"grey\.png: is grey.* Fix: use a colour image"):
        load_image(file)


def test_transparent_pixels_are_laid_on_white(tmp_path: Path) -> None:
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, 48:] = 0
    file = tmp_path / "alpha.png"
    file.write_bytes(encoded(".png", np.concatenate([PICTURE[:, :, ::-1], alpha], axis=2)))
    image = load_image(file)
    assert image[5, 5].tolist() == [200, 60, 30]
    assert image[5, 90].tolist() == [255, 255, 255]


def test_a_folder_is_walked_in_natural_order(tmp_path: Path) -> None:
    names = ["field2.png", "field10.jpg", "b/field1.png", "a/x.PNG", "._field2.png", "notes.txt", "field1.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(".jpg" if name.endswith("jpg") else ".png"))
    with source_of(tmp_path) as source:
        labels = [frame.label for _ in range(5) if (frame := source.read(0.0))]
        assert source.read(0.0) is None
    assert labels == ["a/x.PNG", "b/field1.png", "field1.png", "field2.png", "field10.jpg"]


def test_one_file_keeps_its_path_as_label(tmp_path: Path) -> None:
    file = tmp_path / "field.png"
    file.write_bytes(encoded(".png"))
    with source_of(file) as source:
        frame = source.read(0.0)
        assert source.read(0.0) is None
    assert frame is not None
    assert frame.label == str(file)


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no such file") as missing, source_of(tmp_path / "nowhere"):
        pass
    assert missing.value.fix
    with pytest.raises(SourceUnavailable, match="holds no images"), source_of(tmp_path):
        pass


def test_video(tmp_path: Path) -> None:
    file = tmp_path / "run.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    assert writer.isOpened()
    for _ in range(3):
        writer.write(np.ascontiguousarray(PICTURE[:, :, ::-1]))
    writer.release()
    with source_of(file) as source:
        frames = [frame for _ in range(3) if (frame := source.read(0.0))]
        assert source.read(0.0) is None
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[2].label == f"{file}#2"
    assert frames[0].image[10, 10] == pytest.approx(PICTURE[10, 10], abs=20)


def test_a_broken_video_says_so(tmp_path: Path) -> None:
    file = tmp_path / "run.mp4"
    file.write_bytes(b"nothing of a video")
    with pytest.raises(SourceUnavailable, match=r"run\.mp4"), source_of(file):
        pass


def test_another_file_is_another_fingerprint(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.full((40, 60, 3), 200, np.uint8))
    source = ImagesSource(ImagesOptions(path=tmp_path))
    before = source.fingerprint()
    assert before.startswith("2 files, ")
    cv2.imwrite(str(tmp_path / "b.png"), np.full((40, 60, 3), 200, np.uint8))
    after = source.fingerprint()
    assert after.startswith("3 files, ")
    cv2.imwrite(str(tmp_path / "b.png"), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    assert source.fingerprint() not in (before, after)


def test_a_video_goes_on_in_its_middle(tmp_path: Path) -> None:
    file = tmp_path / "run.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for level in range(0, 200, 20):
        writer.write(np.full((64, 96, 3), level, np.uint8))
    writer.release()
    source = ImagesSource(ImagesOptions(path=file))
    with source:
        whole = [source.read(0) for _ in range(10)]
    source.start_at(7)
    with source:
        rest = [source.read(0) for _ in range(4)]
    assert rest[-1] is None
    for one, other in zip(rest[:-1], whole[7:], strict=True):
        assert one
        assert other
        assert (one.index, one.label) == (other.index, other.label)
        assert np.array_equal(one.image, other.image)
