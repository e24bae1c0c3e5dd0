"""What a target needs: the project's own pins, those that are for it, with the hashes that its wheels may have."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.offline.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One package in one version. hashes: sha256 in hex, of every file that this version was published as."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def line(self) -> str:
        """As pip's requirements have it."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{each}" for each in self.hashes)])


def read(path: Path, target: Target) -> dict[str, Pin]:
    """Package -> its pin on the target, of one file that `make lock` wrote."""
    entries = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return {pin.name: pin for pin in _pins(entries, target)}


def needed(requirements: Path, target: Target, extras: Iterable[str]) -> list[Pin]:
    """All that edgecell and its extras need on the target. Raises FileNotFoundError for an extra that has no pins."""
    found = read(requirements / "base.txt", target)
    for extra in extras:
        found |= read(requirements / "extras" / f"{extra}.txt", target)
    return [found[name] for name in sorted(found)]


def _pins(entries: Iterable[str], target: Target) -> Iterator[Pin]:
    for entry in entries:
        text, *hashes = (part.strip() for part in entry.split(" --hash=sha256:"))
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(target.markers):
            version = str(requirement.specifier).removeprefix("==")
            yield Pin(name=canonicalize_name(requirement.name), version=version, hashes=tuple(hashes))
