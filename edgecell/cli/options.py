"""Options that several commands share."""

import click

ENGINE = click.option(
    "--engine",
    metavar="SPEC",
    help="What runs the models: auto, trt, onnxrt or onnxrt:threads=2. Default: auto, TensorRT where `edgecell prepare` has "
    "prepared it, else ONNX Runtime.",
)
