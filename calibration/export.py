"""PyTorch -> float ONNX: opset 17 (TensorRT 8.6 reads no newer one), batch norm folded, the batch axis left open."""

from pathlib import Path

import torch
from torch import nn

from calibration.recipe import Recipe

OPSET = 17
INPUT, LOGITS, FEATURES = "input", "logits", "features"


def fold(model: nn.Module) -> nn.Module:
    """Batch norm folded into its convolution, in place, on a model in evaluation mode."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
            setattr(model, name, nn.utils.fuse_conv_bn_eval(child[0], child[1]))
        else:
            fold(child)
    return model


def export(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write float.onnx: input (N, 3, S, S) -> logits (N, classes), features (N, width)."""
    size = recipe.preprocess.size_px
    folded = fold(model.eval())
    torch.onnx.export(
        folded,
        (torch.zeros(1, 3, size, size),),
        str(path),
        input_names=[INPUT],
        output_names=[LOGITS, FEATURES],
        dynamic_axes={name: {0: "batch"} for name in (INPUT, LOGITS, FEATURES)},
        opset_version=OPSET,
        dynamo=False,
    )
