"""A laboratory's own images of one centred cell each, `<folder>/<class>/<image>`, sub-folders of a class included."""

from collections.abc import Iterator
from pathlib import Path

from calibration.adapter import Adapter, Fault
from calibration.own import Own
from calibration.sample import Sample
from edgecell.errors import SettingsError
from edgecell.imagefile import SUFFIXES, natural


class OwnCrops(Adapter):
    """Adapter of a folder of crops."""

    Options = Own

    def __init__(self, options: Own) -> None:
        self._options = options
        self.facts = options.facts("image")

    def scan(self, root: Path) -> Iterator[Sample | Fault]:
        """Samples named `<class>/<file>`. Raises SettingsError: no folder, a class unknown, missing or empty."""
        folder = self._options.path(root)
        self._options.check((path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")), folder)
        for name in self._options.classes:
            files = _images(folder / name)
            if not files:
                raise SettingsError(f"{folder / name} holds no image", fix=f"images end in {', '.join(sorted(SUFFIXES))}")
            for path in files:
                yield Sample(
                    name=path.relative_to(folder).as_posix(),
                    labels=(name,),
                    content=path.read_bytes(),
                    pixel_um=self._options.pixel_um,
                    slide=self._options.slide_of(path.relative_to(folder / name).as_posix()),
                )


def _images(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(shown, key=lambda path: (natural(path.relative_to(folder)), path.as_posix()))
