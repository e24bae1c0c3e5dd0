"""Options that several commands share."""

import math
from collections.abc import Callable
from functools import reduce, wraps
from typing import Any, get_args

import click

from edgecell.errors import SettingsError
from edgecell.settings import Counting, StopSettings

ENGINE = click.option(
    "--engine",
    metavar="SPEC",
    help="What runs the models: auto, trt, openvino, onnxrt or onnxrt:threads=2. Default: auto, what `edgecell prepare` found "
    "fastest here, else ONNX Runtime.",
)

COUNTING = click.option(
    "--counting",
    type=click.Choice(get_args(Counting)),
    help="every_frame: a cell counts in each frame that shows it. new_area: once, where the slide was not counted before.",
)


class Number(click.FloatRange):
    """A number in a range; click lets `nan` through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


_STOP = (
    click.option("--until-cells", metavar="N", type=click.IntRange(min=1), help="Stop after N cells of the differential."),
    click.option(
        "--until-width",
        metavar="POINTS",
        type=Number(0, 100, min_open=True, max_open=True),
        help="Stop when the 95 % intervals of the classes named with --of are narrower than so many percentage points.",
    ),
    click.option(
        "--of", "stop_classes", metavar="CLASS", multiple=True, help="A class that --until-width is about; again for more."
    ),
)


def until(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a stop rule, as one argument `stop`: the rule, None where none was given."""

    @wraps(command)
    def ruled(until_cells: int | None, until_width: float | None, stop_classes: tuple[str, ...], **others: Any) -> None:
        command(**others, stop=_stop_rule(until_cells, until_width, stop_classes))

    return reduce(lambda done, option: option(done), reversed(_STOP), ruled)


def _stop_rule(cells: int | None, width: float | None, classes: tuple[str, ...]) -> StopSettings | None:
    if cells is None and width is None and not classes:
        return None
    try:
        return StopSettings(cells=cells, width=width, classes=classes)
    except ValueError as error:
        fix = "give --until-cells N, or --until-width POINTS with --of CLASS"
        raise SettingsError(f"command line: {error}", fix=fix) from None
