"""Frames from files: one image, a folder of them, or a video."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.imagefile import MIN_SIDE_PX, listed, load_image
from edgecell.messages import Frame
from edgecell.protocols import Probe

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


class ImagesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """path: an image, a video, or a folder, whose images are read with those of its subfolders in natural order (field2 before
    field10). Hidden files and files of other kinds are left out."""

    path: Path


class ImagesSource:
    """A file that cannot be used takes its index and raises FrameCorrupt; the next read goes on with the next file.

    Frame.label is the path of the file: as given for one file, relative to the folder for many, with #n for frame n of a video.
    """

    Options = ImagesOptions
    live = False

    def __init__(self, options: ImagesOptions) -> None:
        self.source_id = "images"
        self._path = options.path
        self._files: list[Path] = []
        self._video: cv2.VideoCapture | None = None
        self._first = self._index = 0

    def start_at(self, index: int) -> None:
        """Give the files, or the frames of the video, from `index` on."""
        self._first = index

    def fingerprint(self) -> str:
        """The names and sizes of the files, in their order: a file more or less would shift all that come behind it."""
        files = [self._path] if self._path.is_file() else listed(self._path)
        try:
            told = "\n".join(f"{file.relative_to(self._path)} {file.stat().st_size}" for file in files)
        except OSError as error:
            raise SourceUnavailable(f"{self._path}: {error.strerror}", fix="check the files and their permissions") from None
        return f"{len(files)} files, {hashlib.sha256(told.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"

    def __enter__(self) -> Self:
        self._index = self._first
        self._files = listed(self._path)
        if self._files == [self._path] and self._path.suffix.lower() in VIDEO_SUFFIXES:
            self._video = _opened(self._path)
            for _ in range(self._first):  # not every decoder finds a frame by its number
                if not self._video.grab():
                    break
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        if self._video is not None:
            self._video.release()
        self._video, self._files = None, []

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version=f"OpenCV {cv2.__version__}")

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        return ()

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 a file is there or it is not
        """The next file or video frame."""
        if self._video is not None:
            return self._next_of_video(self._video)
        if self._index >= len(self._files):
            return None
        file, index = self._files[self._index], self._index
        self._index += 1
        label = str(self._path) if file == self._path else file.relative_to(self._path).as_posix()
        return self._frame(load_image(file, index), index, label)

    def _next_of_video(self, video: cv2.VideoCapture) -> Frame | None:
        index = self._index
        more, pixels = video.read()
        if not more:
            if index == 0:
                raise SourceUnavailable(f"{self._path}: holds no frame that can be decoded", fix="replace it by a whole video")
            return None
        self._index += 1
        if min(pixels.shape[:2]) < MIN_SIDE_PX:
            raise FrameCorrupt(f"{self._path}#{index}: too small to hold a cell", fix="give a larger video", index=index)
        image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return self._frame(image, index, f"{self._path}#{index}")

    def _frame(self, image: NDArray[np.uint8], index: int, label: str) -> Frame:
        image.setflags(write=False)
        return Frame(source_id=self.source_id, index=index, captured_ns=clock.monotonic_ns(), image=image, label=label)


def _opened(path: Path) -> cv2.VideoCapture:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    video = cv2.VideoCapture(str(path))
    cv2.utils.logging.setLogLevel(level)
    if not video.isOpened():
        raise SourceUnavailable(f"{path}: cannot be opened as a video", fix="replace it by a whole video, or by images")
    return video
