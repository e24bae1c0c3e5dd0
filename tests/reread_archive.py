"""A small archive of fields drawn by the phantom, for the tests that read one again."""

from itertools import product
from pathlib import Path

from pictures import encoded, field

from calibration.reread.archive import Archive, opened
from edgecell.settings import Settings

SLIDES = {"s1": 2, "s2": 2, "s10": 2, "ward/a": 2, "ward/long": 12}
"""Slide -> fields. Natural order puts s10 last of the three."""
BROKEN = "s2/field9.jpg"
IMAGES = sum(SLIDES.values()) + 1


def _windows(count: int) -> list[bytes]:
    """Parts of 320x240 px of what the phantom drew, each another one."""
    places = product(range(2), range(0, 241, 80), range(0, 321, 80))
    parts = (field(index)[top : top + 240, left : left + 320] for index, top, left in places)
    return [encoded(".png", part[..., ::-1]) for part, _ in zip(parts, range(count), strict=False)]


def write_archive(root: Path) -> Path:
    """The slides, and one image that is none."""
    contents = iter(_windows(sum(SLIDES.values())))
    for slide, fields in SLIDES.items():
        (root / slide).mkdir(parents=True)
        for index in range(fields):
            (root / slide / f"field{index}.png").write_bytes(next(contents))
    (root / BROKEN).write_bytes(b"no image")
    (root / "s1" / "field0.overlay.png").write_bytes(b"drawn by count")
    (root / "s1" / ".hidden.png").write_bytes(b"left by a desktop")
    (root / "notes.txt").write_text("no image either")
    return root


def archive(root: Path, out: Path, *, of_file: bool = False) -> Archive:
    return opened(root, out, Settings(), of_file=of_file)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of results by its name below `out`."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
