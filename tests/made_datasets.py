"""Small seeded sets in the layouts of the five published datasets. Every picture is drawn; none is a real one.

A cell is a disc of its class's own size and ink with a nucleus, on a bright ground with neighbours of its own, so that classes
can be learnt and no two cells are alike.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from toy_cells import encoded

from calibration.datasets import balf, bloodmnist, mll_marrow, pbc

BMC_EMPTY = tuple(f"Empty {number}" for number in range(8))
GROUND = (236, 228, 238)  # RGB


def drawn_cell(label: str, seed: int, side: int, pixel_um: float) -> NDArray[np.uint8]:
    """uint8 (side, side, 3) RGB: one cell in the middle. Ink and size are the label's, the rest is the seed's."""
    look = np.random.default_rng(zlib.crc32(label.encode()))
    rng = np.random.default_rng((seed, zlib.crc32(label.encode())))
    ink, core = look.integers(60, 200, 3), look.integers(20, 120, 3)
    radius_um = look.uniform(2.5, 7.0)
    image = np.full((side, side, 3), GROUND, np.uint8)
    for angle in rng.uniform(0, 2 * np.pi, 5):  # red cells around it
        place = side / 2 + np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.42, 0.6) * side
        _disc(image, place, 3.6 / pixel_um * rng.uniform(0.8, 1.2), np.array([214, 150, 160]))
    middle = np.full(2, side / 2) + rng.normal(0, 0.02, 2) * side
    _disc(image, middle, radius_um / pixel_um * rng.uniform(0.9, 1.1), ink)
    _disc(image, middle + rng.normal(0, 0.03, 2) * side, 0.6 * radius_um / pixel_um * rng.uniform(0.8, 1.2), core)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def _disc(image: NDArray[np.uint8], place: NDArray[np.float64], radius: float, colour: NDArray[np.integer]) -> None:
    x, y = (round(float(each)) for each in place)
    red, green, blue = (int(each) for each in colour)
    cv2.circle(image, (x, y), max(1, round(radius)), (red, green, blue), -1, cv2.LINE_AA)


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image))


def make_pbc(root: Path, each: int, labels: Sequence[str] = pbc.FACTS.names) -> None:
    """`PBC_dataset_normal_DIB/<class>/<PREFIX>_<number>.jpg`, 360x363 px, with the stray hidden file of the published set."""
    for known in pbc.FACTS.classes:
        for number in range(each if known.name in labels else 0):
            image = cv2.resize(drawn_cell(known.name, number, 360, 0.1), (360, 363)).astype(np.uint8)
            _write(root / pbc.PUBLISHED / known.folder / f"{known.abbreviation}_{100_000 + number}.jpg", image)
    (root / pbc.PUBLISHED / "neutrophil").mkdir(parents=True, exist_ok=True)
    (root / pbc.PUBLISHED / "neutrophil" / ".DS_169665.jpg").write_bytes(b"junk")


def make_bloodmnist(root: Path, each: int, side: int = 28) -> Path:
    """The npz under its official name and keys: of each class `each` cells train, a third as many are for val and for test."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for at, part in enumerate(bloodmnist.PARTS):
        count = each if part == "train" else max(1, each // 3)
        images = [drawn_cell(name, 1000 * at + number, side, 20 / side) for name in pbc.FACTS.names for number in range(count)]
        labels = np.repeat(np.arange(len(pbc.FACTS.names), dtype=np.uint8), count)
        order = np.random.default_rng(at).permutation(len(labels))
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = np.stack(images)[order], labels[order, None]
    path = root / ("bloodmnist.npz" if side == 28 else f"bloodmnist_{side}.npz")
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for key, array in arrays.items():
            with made.open(f"{key}.npy", "w") as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
    return path


def make_mll(root: Path, each: int, labels: Sequence[str] = mll_marrow.FACTS.names) -> None:
    """`mll_marrow/<ABBR>/<ABBR>_00001.jpg`, 250x250 px; every second class in subfolders, as the large ones are published."""
    for at, known in enumerate(mll_marrow.FACTS.classes):
        for number in range(each if known.name in labels else 0):
            folder = root / "mll_marrow" / known.folder
            below = folder / ("1001-2000" if number % 2 else "0001-1000") if at % 2 else folder
            file = f"{known.folder}_{number + 1 + 1000 * (number % 2):05}.jpg"
            _write(below / file, drawn_cell(known.name, number, 250, 0.1))


def make_bmc(root: Path, each: int, folders: Sequence[str]) -> None:
    """`bmc_fgcd/{train,test}/<class>/<number>.jpg`: 40 folders, those of BMC_EMPTY without a file."""
    for part in ("train", "test"):
        for name in (*folders, *BMC_EMPTY):
            (root / "bmc_fgcd" / part / name).mkdir(parents=True, exist_ok=True)
    for name in folders:
        for number in range(each):
            part = "test" if number % 5 == 4 else "train"
            _write(root / "bmc_fgcd" / part / name / f"{number}.jpg", drawn_cell(name, number, 128, 0.17))


def make_balf(root: Path, fields: int, *, originals: bool = False, cells: int = 7) -> None:
    """`balf/Images/train/<n>.jpg` at 853x640 px (`High Resolution Images/` at 4912x3684 too) and `balf/Labels/train/<n>.txt`: a
    polygon for every cell, a box for every third."""
    names = balf.FACTS.names
    for number in range(fields):
        rng = np.random.default_rng(number)
        image = np.full((640, 853, 3), GROUND, np.uint8)
        lines = []
        for at, place in enumerate(rng.permutation(30)[:cells].tolist()):
            kind = (at + number) % len(names)
            side = 120
            x0, y0 = 10 + 140 * (place % 6), 5 + 126 * (place // 6)
            image[y0 : y0 + side, x0 : x0 + side] = drawn_cell(names[kind], 100 * number + at, side, 0.2)
            radius = np.random.default_rng(zlib.crc32(names[kind].encode()))
            radius.integers(60, 200, 3), radius.integers(20, 120, 3)
            reach = radius.uniform(2.5, 7.0) / 0.2
            lines.append(_label(kind, x0 + side / 2, y0 + side / 2, reach, box=at % 3 == 2))
        label = root / "balf" / "Labels" / "train" / f"{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("\n".join(lines) + "\n")
        _write(root / "balf" / "Images" / "train" / f"{number}.jpg", image)
        if originals:
            large = cv2.resize(image, (4912, 3684), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
            _write(root / "balf" / "High Resolution Images" / f"{number}.jpg", large)


def _label(kind: int, x: float, y: float, radius: float, *, box: bool) -> str:
    if box:
        return f"{kind} {x / 853:.6f} {y / 640:.6f} {2 * radius / 853:.6f} {2 * radius / 640:.6f}"
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    corners = np.stack([(x + radius * np.cos(angles)) / 853, (y + radius * np.sin(angles)) / 640], axis=1)
    return f"{kind} " + " ".join(f"{value:.6f}" for value in corners.ravel())
