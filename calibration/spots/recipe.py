"""A segmenter's recipe: everything that turns labelled fields into one bundle, as TOML. Unknown keys are errors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from calibration.recipe import Augment
from edgecell.bundle import CellClass, Specimen
from edgecell.errors import SettingsError
from edgecell.preprocess import Preprocess

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The labelled fields, boxes or outlines.

    name, licence, source: for the provenance. path: folder or tar below --data in YOLO's layout, where class numbers count the
    recipe's classes; None asks the adapter `name` of calibration.datasets for its fields, whose classes go by their names.
    split: None where the set has none. apart: a split that is kept for the test: what is a near-copy of one of its fields is
    not trained on. pixel_um: None measures each field on its labelled red cells.
    held: share of the groups of near-copies that is kept out of training, for the choice of limits.
    """

    name: str
    licence: str
    source: str
    path: str | None = None
    split: str | None = None
    apart: str | None = None
    pixel_um: float | None = None
    held: Share = 0.12


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size of calibration.models.field_net."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 80)
    blocks: tuple[int, int, int, int] = (1, 1, 1, 1)


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training shows of a field. side_px: of the square input, a multiple of the network's.

    scale, wide: exp(+-) of the scale; `wide` for wide_share of the views, for frames whose scale is still a guess.
    squash: standard deviation of the log of width against height. unsquash: share of the views that undo a field's own.
    turn: share of the views turned by any angle, all others by quarters. look: of stain, lamp and optics.
    """

    side_px: Annotated[int, msgspec.Meta(multiple_of=16)] = 160
    scale: float = 0.12
    wide: float = 0.4
    wide_share: Share = 0.25
    squash: float = 0.06
    unsquash: Share = 0.4
    turn: Share = 0.25
    look: Augment = Augment()


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Schedule: AdamW with one cosine cycle and an exponential moving average of the weights.

    stop: epochs after which it is cut short, where held-back fields say that the rest is learnt by heart. box, inside: their
    losses' weights beside that of the middles. balance: a cell of a rare kind counts (largest number of a kind / its own) **
    balance.
    """

    seed: int
    epochs: int
    stop: int | None = None
    batch: int = 24
    rate: float = 2e-3
    weight_decay: float = 0.05
    average: float = 0.998
    box: float = 2.0
    inside: float = 0.5
    balance: float = 0.35
    view: View = View()


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """calibration_fields: training fields that set the INT8 ranges. overlap: above this intersection over union two boxes are
    one cell. error_of_decided: largest share of wrong kinds among the decided cells of held-back fields; None decides all.
    Limits of the bundle: max_size_mb of all its files; f1_at_least: by kind, on held-back fields."""

    calibration_fields: int = 64
    overlap: float = 0.6
    error_of_decided: Share | None = None
    max_size_mb: float = 6.0
    f1_at_least: Mapping[str, float] = {}


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole recipe. classes: the kinds of cell, in the order of the labels' numbers. preprocess: crop_um / size_px is the
    scale that the network works at, size_px the longest side that it is made for."""

    name: str
    version: str
    specimen: Specimen
    data: Data
    classes: tuple[CellClass, ...]
    preprocess: Preprocess
    network: Network = Network()
    training: Training
    acceptance: Acceptance = Acceptance()

    @property
    def work_um(self) -> float:
        """um per pixel of the network's input."""
        return self.preprocess.crop_um / self.preprocess.size_px


FOLDER = Path(__file__).parents[1] / "recipes" / "segment"


def load(path: Path) -> tuple[Recipe, str]:
    """The recipe and the sha256 of its file. Raises SettingsError that names file and field."""
    try:
        content = path.read_bytes()
        return msgspec.toml.decode(content, type=Recipe), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise SettingsError(f"cannot read recipe {path}: {error.strerror}", fix="name a file of calibration/recipes") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path}: {error}", fix="correct that field") from error
