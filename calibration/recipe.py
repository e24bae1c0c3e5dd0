"""A recipe: everything that turns datasets into one bundle, as TOML. Unknown keys are errors."""

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec

from edgecell.bundle import CellClass, Specimen
from edgecell.errors import SettingsError
from edgecell.preprocess import Preprocess


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dataset of the recipe. split: file of names below calibration/splits. repeat: how often an epoch shows each cell."""

    dataset: str
    split: str
    repeat: Annotated[int, msgspec.Meta(ge=1)] = 1


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network of calibration.models, and its size.

    mixstyle: probability that a batch's cells exchange the means and deviations of their early features in training.
    stem: how often the sides are halved before the first block.
    """

    part: str
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    dropout: float = 0.2
    mixstyle: float = 0.0
    stem: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1


class Augment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Strength of each augmentation; 0 switches it off. Probabilities are a share of the cells. Turns and mirrors
    are always on: a cell has no upright.

    plain: probability of nothing but geometry, so that the datasets' own slides stay in sight.
    scale: exp(+-scale). shift_um: largest shift of the centre. background: probability of another field behind the cell.
    stain: standard deviation of the mixing of optical densities. density: of the log of their strength. channels: of the log
    of each colour channel's own. dyes: of the log of each dye's. tone: of the log of the exponent that bends the densities,
    pale against dark.
    light: probability of another lamp and white balance. grey: probability of losing the colour.
    blur_um: largest Gaussian sigma. coarse: probability of resolution lost, to 0.5 um a pixel at worst. sharpen, noise, jpeg:
    probabilities.
    """

    plain: float = 0.0
    scale: float = 0.0
    shift_um: float = 0.0
    background: float = 0.0
    stain: float = 0.0
    density: float = 0.0
    channels: float = 0.0
    dyes: float = 0.0
    tone: float = 0.0
    light: float = 0.0
    grey: float = 0.0
    blur_um: float = 0.0
    coarse: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Schedule: AdamW with one cosine cycle and an exponential moving average of the weights."""

    seed: int
    epochs: int
    batch: int = 96
    rate: float = 2e-3
    weight_decay: float = 0.05
    average: float = 0.998
    augment: Augment = Augment()


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """error_of_decided: largest share of wrong labels among the decided validation cells; it sets the threshold.

    error_on_strange: the same on slides made strange; where they err more, a slide is foreign (see calibration.strange).
    calibration_cells: training cells that set the INT8 ranges. max_size_mb: of the whole bundle.
    """

    error_of_decided: float = 0.005
    error_on_strange: float = 0.03
    calibration_cells: int = 512
    max_size_mb: float = 6.0


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole recipe. The first dataset of `data` is the one whose test split gives the bundle's figures."""

    name: str
    version: str
    specimen: Specimen
    data: tuple[Data, ...]
    classes: tuple[CellClass, ...]
    preprocess: Preprocess
    network: Network
    training: Training
    acceptance: Acceptance = Acceptance()

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)


def load(path: Path) -> tuple[Recipe, str]:
    """The recipe and the sha256 of its file. Raises SettingsError that names file and field."""
    try:
        content = path.read_bytes()
        return msgspec.toml.decode(content, type=Recipe), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise SettingsError(f"cannot read recipe {path}: {error.strerror}", fix="name a file of calibration/recipes") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path}: {error}", fix="correct that field") from error
