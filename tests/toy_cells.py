"""Small generated datasets in the layouts of the real ones, and a recipe for them. No real image is needed anywhere."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration import recipe, split

PIXEL_UM = 0.1  # of PBC and MLL, as their adapters say
INKS = {"neutrophil": (150, 60, 160), "lymphocyte": (60, 40, 140), "platelet": (170, 120, 190)}  # RGB
RADII_UM = {"neutrophil": 6.0, "lymphocyte": 3.8, "platelet": 1.4}


def toy_cell(label: str, seed: int, side: int = 224) -> NDArray[np.uint8]:
    """uint8 (side, side, 3) RGB: a disc of the class's ink and size in the middle of a bright ground, a little
    noise, and pale red cells around, each cell's own: else two cells of a class would be near-copies."""
    rng = np.random.default_rng((seed, len(label)))
    image = np.full((side, side, 3), 235, np.uint8)
    radius = round(RADII_UM[label] * rng.uniform(0.9, 1.1) / PIXEL_UM)
    cv2.circle(image, (side // 2, side // 2), radius, INKS[label], -1, cv2.LINE_AA)
    angles = np.random.default_rng((seed, len(label), 1)).uniform(0, 2 * np.pi, 3)
    for x, y in np.stack([np.cos(angles), np.sin(angles)], axis=1) * 0.40 * side + side / 2:
        cv2.circle(image, (round(float(x)), round(float(y))), round(0.08 * side), (216, 160, 170), -1, cv2.LINE_AA)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def encoded(image: NDArray[np.uint8], suffix: str = ".jpg") -> bytes:
    """The image file of an RGB image."""
    done, content = cv2.imencode(suffix, np.ascontiguousarray(image[:, :, ::-1]))
    assert done
    return bytes(content)


def pbc_files(each: int, labels: Sequence[str] = tuple(INKS)) -> dict[str, bytes]:
    """`<class>/<file>` -> JPEG, `each` cells a class."""
    return {
        f"{label}/{label[:2].upper()}_{number}.jpg": encoded(toy_cell(label, number))
        for label in labels
        for number in range(1, each + 1)
    }


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_tar(files: Mapping[str, bytes], path: Path, top: str) -> None:
    """The files below folder `top` of a tar."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_split(names: Sequence[str], path: Path) -> Path:
    """Every sixth name is for validation, the one after it for the test, the others train."""
    parts: Mapping[int, split.Part] = {0: "val", 1: "test"}
    split.save({name: parts.get(number % 6, "train") for number, name in enumerate(names)}, path)
    return path


def toy_recipe(file: Path, split_file: Path, *, epochs: int = 2, max_size_mb: float = 6.0) -> recipe.Recipe:
    """Writes the recipe of a very small network for three classes of PBC cells to `file`, and reads it."""
    classes = "\n".join(
        f'[[classes]]\nname = "{name}"\nabbreviation = "{name[:3].upper()}"\ngroup = "{group}"'
        for name, group in (("neutrophil", "leukocyte"), ("lymphocyte", "leukocyte"), ("platelet", "platelet"))
    )
    file.write_text(f"""
name = "toy"
version = "0.0.1"
specimen = "blood"
data = [{{ dataset = "pbc", split = "{split_file.as_posix()}" }}]
preprocess = {{ pixel_um = 0.1, crop_um = 20.0, size_px = 32, mean = [0.75, 0.65, 0.8], std = [0.25, 0.3, 0.2] }}
network = {{ part = "resnet_int8", widths = [16, 32], blocks = [1, 1], dropout = 0.0 }}
acceptance = {{ error_of_decided = 0.05, calibration_cells = 24, max_size_mb = {max_size_mb} }}

[training]
seed = 1
epochs = {epochs}
batch = 4
rate = 1e-2
average = 0.9
augment = {{ scale = 0.1, shift_um = 0.5, density = 0.1, noise = 0.2 }}

{classes}
""")
    return recipe.load(file)[0]
