"""Pictures to measure the optics on: from files, or taken by a camera, with a word to who moves the slide."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from edgecell import app, clock
from edgecell.errors import FrameCorrupt, FrameTimeout, NotMeasurable
from edgecell.imagefile import listed, load_image
from edgecell.messages import Frame
from edgecell.protocols import FrameSource
from edgecell.settings import source_from_spec

PATIENCE_S = 10.0
"""Longest wait for a frame of a camera."""
STALE = 2
"""Frames of a live camera that may be older than the last word, and are let go."""


class Pictures:
    """size: (width, height) of all of them, once one was taken."""

    def __init__(self, paths: Sequence[Path], source: FrameSource | None) -> None:
        self._paths, self._source, self._taken = paths, source, 0
        self.size: tuple[int, int] | None = None

    @property
    def from_camera(self) -> bool:
        return self._source is not None

    def take(self, most: int, word: str) -> Iterator[Frame]:
        """All files; or of the source `most` frames, once who sits at the terminal has read the word and pressed Enter.

        Raises SourceError; NotMeasurable for a picture of another size.
        """
        frames = self._files() if self._source is None else self._frames(self._source, most, word)
        for frame in frames:
            height, width = frame.image.shape[:2]
            self.size = self.size or (width, height)
            if (width, height) != self.size:
                what = (
                    f"{frame.label or frame.index}: {width}x{height} px, and the picture before {self.size[0]}x{self.size[1]}"
                )
                raise NotMeasurable(what, fix="give pictures of one camera in one mode")
            yield frame

    def _files(self) -> Iterator[Frame]:
        for path in self._paths:
            for file in listed(path):
                yield Frame(
                    source_id="optics", index=0, captured_ns=clock.monotonic_ns(), image=load_image(file), label=str(file)
                )

    def _frames(self, source: FrameSource, most: int, word: str) -> Iterator[Frame]:
        if word and sys.stdin.isatty():
            click.echo(word, err=True)
            click.prompt("Press Enter when it is done", default="", show_default=False, prompt_suffix=" ... ", err=True)
        for _ in range(STALE if source.live and self._taken else 0):
            _next(source)
        for _ in range(most):
            frame = _next(source)
            if frame is None:
                return
            self._taken += 1
            yield frame


def _next(source: FrameSource) -> Frame | None:
    """The next frame that can be used. Raises SourceError."""
    due_ns = clock.monotonic_ns() + round(PATIENCE_S * 1e9)
    while True:
        with suppress(FrameTimeout, FrameCorrupt):
            return source.read(1.0)
        if clock.monotonic_ns() > due_ns:
            what = f"no frame that can be used from {source.source_id} for {PATIENCE_S:g} s"
            raise FrameTimeout(what, fix="check the camera: edgecell cameras")


@contextmanager
def pictures(paths: Sequence[Path], source: str | None) -> Iterator[Pictures]:
    """Of the files, or of the source that a spec such as `v4l2:0` names. Raises SettingsError, SourceError."""
    if bool(paths) == (source is not None):
        raise click.UsageError("give either images, or a camera with --source")
    if source is None:
        yield Pictures(paths, None)
        return
    with app.choose("source", source_from_spec(source)).make() as camera:
        yield Pictures((), camera)
