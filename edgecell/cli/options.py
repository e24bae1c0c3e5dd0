"""Options that several commands share."""

from typing import get_args

import click

from edgecell.settings import Counting

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
