"""What tells a picture from others: sha256 of its pixels, its coarse look, its size; kept, since decoding takes time."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.copies import SIDE, Coarse, coarse
from calibration.sample import Sample
from edgecell.imagefile import decoded


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """sha256: of the pixels, hex. look: uint8 (SIDE, SIDE). size: (width, height) in px."""

    sha256: str
    look: Coarse
    size: tuple[int, int]


def pixels_sha256(image: NDArray[np.uint8]) -> str:
    """Hex sha256 of height, width and RGB values."""
    height, width = image.shape[:2]
    return hashlib.sha256(f"{height}x{width}\n".encode() + image.tobytes()).hexdigest()


def fingerprint(sample: Sample) -> Fingerprint:
    """Of a sample. Raises FrameCorrupt for a file that is no whole colour image."""
    image = decoded(sample.content, sample.name) if isinstance(sample.content, bytes) else sample.content
    return Fingerprint(sha256=pixels_sha256(image), look=coarse(image), size=(image.shape[1], image.shape[0]))


class Known:
    """Fingerprints by the sha256 of the file that they were taken from, kept in a file. None forgets them."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._new = path, False
        self._by_key: dict[bytes, Fingerprint] = {}
        if path is not None and path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                keys, shas, looks, sizes = (kept[name] for name in ("keys", "sha256", "looks", "sizes"))
            for key, sha, look, (width, height) in zip(keys, shas, looks, sizes.tolist(), strict=True):
                self._by_key[key.tobytes()] = Fingerprint(sha256=sha.tobytes().hex(), look=look, size=(width, height))

    def of(self, sample: Sample) -> Fingerprint:
        """As `fingerprint`."""
        if self._path is None:
            return fingerprint(sample)
        content = sample.content if isinstance(sample.content, bytes) else sample.content.tobytes()
        key = hashlib.sha256(content).digest()
        if key not in self._by_key:
            self._by_key[key], self._new = fingerprint(sample), True
        return self._by_key[key]

    def save(self) -> None:
        """Writes the file where there is something new."""
        if self._path is None or not self._new:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        found = list(self._by_key.values())
        with self._path.open("wb") as stream:
            np.savez(
                stream,
                keys=np.frombuffer(b"".join(self._by_key), np.uint8).reshape(-1, 32),
                sha256=np.frombuffer(bytes.fromhex("".join(each.sha256 for each in found)), np.uint8).reshape(-1, 32),
                looks=np.stack([each.look for each in found]).reshape(-1, SIDE, SIDE),
                sizes=np.array([each.size for each in found], np.int64).reshape(-1, 2),
            )
