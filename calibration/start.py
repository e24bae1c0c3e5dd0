"""A training that starts from the network of a bundle: what it knows of cells carries over to other classes and few of them."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from edgecell.bundle import open_bundle
from edgecell.errors import SettingsError


def from_bundle(model: nn.Module, bundle: str | Path, batches: torch.Tensor) -> None:
    """Give `model` the convolutions of the bundle's float model; the last, linear layer stays as it was drawn.

    A bundle's batch norm is folded into its convolutions. It is unfolded here: the statistics are measured on `batches`,
    float32 (N, 3, S, S), and scale and shift are set to undo them, so that the network answers as before and trains like a
    fresh one.
    Raises SettingsError where the two networks differ in shape, BundleError for no bundle.
    """
    opened = open_bundle(bundle)
    stored = onnx.load(opened.file("float.onnx")).graph.initializer
    weights = {each.name: torch.from_numpy(np.array(numpy_helper.to_array(each))) for each in stored}
    pairs = {name: child for name, child in model.named_modules() if _is_pair(child)}
    wanted = {f"{name}.weight": tuple(child[0].weight.shape) for name, child in pairs.items()}
    if wanted != {name: tuple(weights[name].shape) for name in weights if name.endswith(".weight") and name in wanted}:
        raise SettingsError(
            f"bundle {opened.manifest.name} has another network", fix="give [network] its widths, blocks and stem"
        )
    with torch.no_grad():
        for name, pair in pairs.items():
            pair[0].weight.copy_(weights[f"{name}.weight"])
            pair[1].bias.copy_(weights[f"{name}.bias"])
            pair[1].weight.fill_(1)
            pair[1].running_mean.zero_()
            pair[1].running_var.fill_(1 - pair[1].eps)
        _unfold(model, list(pairs.values()), batches)


def _is_pair(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], nn.BatchNorm2d)


def _unfold(model: nn.Module, pairs: list[nn.Module], batches: torch.Tensor) -> None:
    """Move mean and variance of what each convolution gives out of its weights and into its batch norm."""
    seen: dict[nn.Module, torch.Tensor] = {}
    hooks = [pair[0].register_forward_hook(lambda module, _, out: seen.update({module: out})) for pair in pairs]
    model.eval()(batches)
    for hook in hooks:
        hook.remove()
    for convolution, norm in pairs:
        variance, mean = torch.var_mean(seen[convolution], (0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.add_(mean)
