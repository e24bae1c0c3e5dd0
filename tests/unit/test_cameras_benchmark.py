"""What `benchmarks.cameras` says of copies: counted, so a source that copies once more is found out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import camera_feeds, cameras
from edgecell.messages import Frame
from edgecell.protocols import FrameSource
from edgecell.sources.v4l2 import V4l2Source


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "TAKEN", 2)
    monkeypatch.setattr(cameras, "PAUSE_S", 0.0)


def feed(name: str, tmp_path: Path) -> Callable[[], FrameSource]:
    field = np.random.default_rng(1).integers(0, 255, (camera_feeds.HEIGHT, camera_feeds.WIDTH, 3), np.uint8)
    return camera_feeds.feeds(tmp_path, [field] * 2)[name]


@pytest.mark.parametrize("fourcc", ["MJPG", "YUYV"])
def test_a_v4l2_frame_is_written_once(fourcc: str, tmp_path: Path) -> None:
    make = feed(f"v4l2 {fourcc} (stand-in for the kernel)", tmp_path)
    assert cameras.written(make) == pytest.approx(1, abs=0.02)
    assert cameras.taking(make) > 0


def test_a_basler_frame_is_written_once(tmp_path: Path) -> None:
    pytest.importorskip("pypylon")
    (tmp_path / "tiff").mkdir()
    cv2.imwrite(str(tmp_path / "tiff/field.tiff"), np.full((camera_feeds.HEIGHT, camera_feeds.WIDTH, 3), 99, np.uint8))
    with camera_feeds.attached():
        assert cameras.written(feed("basler BayerRG8 (SDK's emulation)", tmp_path)) == pytest.approx(1, abs=0.02)


def test_a_copy_more_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = V4l2Source.read

    def read(source: V4l2Source, timeout_s: float) -> Frame | None:
        frame = take(source, timeout_s)
        return frame and dataclasses.replace(frame, image=frame.image.copy())

    monkeypatch.setattr(V4l2Source, "read", read)
    make = feed("v4l2 YUYV (stand-in for the kernel)", tmp_path)
    assert cameras.written(make) == pytest.approx(2, abs=0.02)
