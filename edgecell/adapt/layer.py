"""The last layer, and what training cells look like to it. Features (N, W) float64 -> logits (N, K)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.bundle import Bundle
from edgecell.errors import BundleCorrupt
from edgecell.npz import read_arrays

FEATURES = "features"
STATISTICS = "features.npz"
_ARRAYS = ("means", "covariance", "counts")

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """weight: (K, W). bias: (K,)."""

    weight: Array
    bias: Array

    def logits(self, features: Array) -> Array:
        """(N, W) -> (N, K)."""
        return features @ self.weight.T + self.bias

    def moved(self, offset: Array) -> "Layer":
        """The layer that answers `features` as this one answers `features - offset`. offset: (W,)."""
        return Layer(weight=self.weight, bias=self.bias - self.weight @ offset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """Features of training cells. means: (K, W) of each class. covariance: (W, W) within the classes. counts: cells (K,)."""

    means: Array
    covariance: Array
    counts: Labels

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Classes of which there were training cells, (K,)."""
        return self.counts > 0

    def moved(self, offset: Array) -> "Statistics":
        """As they would be on a microscope whose features lie `offset` (W,) beside the old one's."""
        return Statistics(means=self.means + offset, covariance=self.covariance, counts=self.counts)


def read_statistics(bundle: Bundle) -> Statistics | None:
    """The bundle's features.npz, or None if it has none. Raises BundleCorrupt."""
    if STATISTICS not in bundle.manifest.files:
        return None
    path = bundle.file(STATISTICS)
    stored = read_arrays(path)
    if not _fits(stored, len(bundle.class_names)):
        raise BundleCorrupt(f"{path} does not fit the bundle's classes", fix="build the bundle again with the workshop")
    means, covariance, counts = (stored[name] for name in _ARRAYS)
    seen = counts > 0
    return Statistics(
        means=np.where(seen[:, None], means, 0.0).astype(np.float64),
        covariance=covariance.astype(np.float64),
        counts=counts.astype(np.int64),
    )


def _fits(stored: Mapping[str, NDArray[Any]], classes: int) -> bool:
    """Whether the arrays are there, numbers, and of shapes that go together; and of a class that has cells all is known."""
    if any(name not in stored or stored[name].dtype.kind not in "fiu" for name in _ARRAYS):
        return False
    means, covariance, counts = (stored[name] for name in _ARRAYS)
    width = means.shape[-1] if means.ndim else 0
    if (means.shape, covariance.shape, counts.shape) != ((classes, width), (width, width), (classes,)):
        return False
    seen = counts > 0
    return bool(seen.any() and np.isfinite(means[seen]).all() and np.isfinite(covariance).all())


def write_statistics(path: Path, statistics: Statistics) -> None:
    """features.npz, as `read_statistics` reads it."""
    np.savez_compressed(
        path,
        means=statistics.means.astype(np.float32),
        covariance=statistics.covariance.astype(np.float32),
        counts=statistics.counts,
    )
