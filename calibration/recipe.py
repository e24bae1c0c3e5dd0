"""A recipe: everything that turns datasets into one bundle, as TOML. Unknown keys are errors."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgecell.bundle import CellClass, Specimen
from edgecell.errors import SettingsError
from edgecell.preprocess import Preprocess

RangeMethod = Annotated[str, msgspec.Meta(pattern=r"^(min-max|entropy|percentile (100|[5-9]\d(\.\d+)?))$")]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dataset of the recipe. split: file of names below calibration/splits, or beside the recipe (`./name.tsv`). repeat:
    how often an epoch shows each cell.

    classes: class of the dataset -> class of the recipe; cells of a class that is not named are passed over. Without it, all
    classes go by the dataset's own names. pixel_um: micrometres per pixel, in place of what the dataset says. options: where
    own cells are and what they show, typed by the adapter; published datasets take none.
    """

    dataset: str
    split: str
    repeat: Annotated[int, msgspec.Meta(ge=1)] = 1
    classes: dict[str, str] | None = None
    pixel_um: Annotated[float, msgspec.Meta(gt=0)] | None = None
    options: dict[str, Any] = {}

    def labels(self, given: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...] | None:
        """The dataset's labels of a cell as classes among `names`; None where one of them has no class here: then the cell may
        be of that one, and cannot be used."""
        meant = given if self.classes is None else tuple(self.classes.get(label, "") for label in given)
        return meant if set(meant) <= set(names) else None


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
    """Schedule: AdamW with one cosine cycle and an exponential moving average of the weights.

    precision: of convolutions in training; auto: bfloat16 on a CPU that has it, else float32. The history says which it was.
    start: bundle of the same network whose weights the training starts from; "" for none.
    """

    seed: int
    start: str = ""
    epochs: int
    batch: int = 96
    rate: float = 2e-3
    weight_decay: float = 0.05
    average: float = 0.998
    precision: Literal["auto", "float32"] = "auto"
    augment: Augment = Augment()


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the choices aim at, and the limits that a bundle must meet.

    error_of_decided: largest share of wrong labels among the decided validation cells; it sets the threshold.
    error_on_strange: the same on slides made strange; where they err more, a slide is foreign (see calibration.strange).
    calibration_cells: training cells that set the INT8 ranges.

    Limits, by dataset of the recipe; a bundle that misses one is not made. accuracy, agreement (on the class, of the two INT8
    encodings) and decided_and_wrong are shares of all cells, macro_f1 is over the classes with enough cells, int8_drop is FP32
    less INT8 accuracy in points. max_size_mb: of the whole bundle.
    limits_on: the part of the split that they are checked on. "test" checks the figures that the bundle is published with; who
    then changes the recipe until they are met has chosen on the test split, and the figures mean less. While a recipe is still
    being tried, check it on "val": that part sets the threshold, so it is kinder than the test.
    """

    error_of_decided: float = 0.005
    error_on_strange: float = 0.03
    calibration_cells: int = 512
    max_size_mb: float = 6.0
    limits_on: Literal["val", "test"] = "test"
    accuracy_at_least: Mapping[str, float] = {}
    macro_f1_at_least: Mapping[str, float] = {}
    macro_f1_without_reject_at_least: Mapping[str, float] = {}
    decided_and_wrong_at_most: Mapping[str, float] = {}
    int8_drop_at_most: Mapping[str, float] = {}
    agreement_at_least: Mapping[str, float] = {}

    def datasets(self) -> Iterator[tuple[str, str]]:
        """Every (field, dataset) that a limit is set for."""
        for field in self.__struct_fields__:
            if isinstance(limits := getattr(self, field), Mapping):
                yield from ((field, dataset) for dataset in limits)


class Tolerant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Classes that tolerant scoring lets stand for one another: neighbouring stages of a maturation. Groups may overlap."""

    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]


class Int8(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the INT8 models are made. methods: for ranges, compared on `compared_cells` training cells that set none.

    largest_drop: accuracy that INT8 may lose on the validation cells, as a share of them. Where either encoding loses more, the
    network is fine-tuned with quantization simulated, for `fine_tune_steps` steps at a learning rate that falls from `rate`.
    """

    methods: Annotated[tuple[RangeMethod, ...], msgspec.Meta(min_length=1)] = (
        "min-max",
        "entropy",
        "percentile 99.9",
        "percentile 99.99",
        "percentile 99.999",
    )
    compared_cells: Annotated[int, msgspec.Meta(ge=1)] = 512
    largest_drop: float = 0.001
    fine_tune_steps: Annotated[int, msgspec.Meta(ge=0)] = 300
    rate: Annotated[float, msgspec.Meta(gt=0)] = 1e-4


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
    tolerant: tuple[Tolerant, ...] = ()
    int8: Int8 = Int8()

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)


FOLDER = Path(__file__).parent / "recipes"


def data_for(bundle: str, dataset: str, file: Path | None = None) -> Data:
    """How a recipe reads a dataset: `file`, or else the committed recipe of the bundle's name, if there is one that knows the
    dataset. Without either its split is DATASET.tsv, and its classes go by their own names.

    Raises SettingsError when `file` does not know the dataset.
    """
    path = file or FOLDER / f"{bundle}.toml"
    entries = load(path)[0].data if path.is_file() or file else ()
    found = next((data for data in entries if data.dataset == dataset), None)
    if found is None and file is not None:
        raise SettingsError(f"recipe {file} reads no dataset {dataset}", fix="name a recipe that does")
    return found or Data(dataset=dataset, split=f"{dataset}.tsv")


def load(path: Path) -> tuple[Recipe, str]:
    """The recipe and the sha256 of its file. A split that begins with `./` lies beside it. Raises SettingsError that names file
    and field."""
    try:
        content = path.read_bytes()
        recipe = msgspec.toml.decode(content, type=Recipe)
    except OSError as error:
        raise SettingsError(f"cannot read recipe {path}: {error.strerror}", fix="name a file of calibration/recipes") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path}: {error}", fix="correct that field") from error
    known = [data.dataset for data in recipe.data]
    for field, dataset in recipe.acceptance.datasets():
        if dataset not in known:
            fix = f"name a dataset of the recipe: {', '.join(known)}"
            raise SettingsError(f"recipe {path}: acceptance.{field} names {dataset}, which the recipe does not read", fix=fix)
    strangers = sorted({name for group in recipe.tolerant for name in group.classes} - set(recipe.class_names))
    if strangers:
        raise SettingsError(f"recipe {path}: tolerant names {', '.join(strangers)}", fix="name classes of the recipe there")
    data = tuple(
        msgspec.structs.replace(each, split=str(path.parent.resolve() / each.split)) if each.split.startswith("./") else each
        for each in recipe.data
    )
    return msgspec.structs.replace(recipe, data=data), hashlib.sha256(content).hexdigest()
