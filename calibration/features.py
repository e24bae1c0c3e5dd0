"""What training cells look like to the network: class means and spread of the pooled features, for adaptation on a device."""

from pathlib import Path

import numpy as np

from calibration.cells import TrainingCells, plain_crops
from calibration.evaluate import run
from calibration.export import FEATURES
from edgecell.preprocess import Preprocess

FILE = "features.npz"
MOST = 600  # cells of a class: a mean of 96 features needs no more


def write(cells: TrainingCells, spec: Preprocess, folder: Path, seed: int) -> None:
    """features.npz: `means` float32 (K, W), `covariance` float32 (W, W) within the classes, `counts` int64 (K,)."""
    rng = np.random.default_rng(seed)
    classes = range(cells.allowed.shape[1])
    chosen = [rng.permutation(np.flatnonzero(cells.truth == number))[:MOST] for number in classes]
    seen = [run(folder, "u8s8", plain_crops(cells.windows[some], spec), spec)[FEATURES].astype(np.float64) for some in chosen]
    means = np.stack([some.mean(axis=0) for some in seen])
    apart = np.concatenate([some - mean for some, mean in zip(seen, means, strict=True)])
    np.savez_compressed(
        folder / FILE,
        means=means.astype(np.float32),
        covariance=(apart.T @ apart / (len(apart) - len(means))).astype(np.float32),
        counts=np.array([len(some) for some in seen]),
    )
