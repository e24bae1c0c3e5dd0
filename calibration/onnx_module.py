"""A float ONNX graph as a torch module whose weights can be trained, and written back under their names."""

from collections.abc import Callable, Mapping
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from edgecell.errors import SettingsError

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm"}

Seen = Callable[[str, int, torch.Tensor], torch.Tensor]
"""(a node's name, which of its inputs, the tensor) -> what the node reads."""


def as_it_is(_: str, __: int, tensor: torch.Tensor) -> torch.Tensor:
    return tensor


class OnnxModule(nn.Module):
    """Computes the graph's outputs, by name. `trained` are the weights and biases of its layers, in the order of the graph.

    Raises SettingsError for an operator that it does not know: it knows those of networks made for INT8.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        for node in model.graph.node:
            if node.op_type not in _OPERATORS:
                fix = "leave fine-tuning out (fine_tune_steps = 0), or build the network of plain layers"
                raise SettingsError(f"cannot fine-tune {node.op_type} ({node.name})", fix=fix)
        held = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in model.graph.initializer}
        layers = [node for node in model.graph.node if node.op_type in _WEIGHTED]
        self.trained = list(dict.fromkeys(name for node in layers for name in node.input[1:] if name in held))
        self.weights = nn.ParameterList([nn.Parameter(held[name]) for name in self.trained])
        self.held = {name: value for name, value in held.items() if name not in self.trained}

    def forward(self, batch: torch.Tensor, seen: Seen = as_it_is) -> dict[str, torch.Tensor]:
        values: dict[str, Any] = {**self.held, self.model.graph.input[0].name: batch}
        values |= zip(self.trained, self.weights, strict=True)
        for node in self.model.graph.node:
            inputs = [seen(node.name, at, values[name]) if name else None for at, name in enumerate(node.input)]
            how = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            values[node.output[0]] = _OPERATORS[node.op_type](how, *inputs)
        return {each.name: values[each.name] for each in self.model.graph.output}

    def written(self) -> Any:
        """The model with the weights as they are now."""
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        now = dict(zip(self.trained, self.weights, strict=True))
        for each in made.graph.initializer:
            if each.name in now:
                each.CopyFrom(numpy_helper.from_array(now[each.name].detach().numpy(), each.name))
        return made


def _padded(how: Mapping[str, Any], x: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = how.get("pads", (0, 0, 0, 0))
    return functional.pad(x, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else x


def _conv(how: Mapping[str, Any], x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    steps, apart = tuple(how.get("strides", (1, 1))), tuple(how.get("dilations", (1, 1)))
    return functional.conv2d(_padded(how, x), w, b, steps, 0, apart, how.get("group", 1))


def _transposed(how: Mapping[str, Any], x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    top, left, bottom, right = how.get("pads", (0, 0, 0, 0))
    more = tuple(how.get("output_padding", (0, 0)))
    whole = functional.conv_transpose2d(x, w, b, tuple(how.get("strides", (1, 1))), 0, more, how.get("group", 1))
    return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]


def _gemm(how: Mapping[str, Any], x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    return functional.linear(x, w if how.get("transB") else w.T, b)


def _max_pool(how: Mapping[str, Any], x: torch.Tensor) -> torch.Tensor:
    padded = _padded(how, x, -torch.inf)
    return functional.max_pool2d(padded, tuple(how["kernel_shape"]), tuple(how.get("strides", (1, 1))))


def _resize(how: Mapping[str, Any], x: torch.Tensor, _: Any, scales: torch.Tensor, sizes: Any = None) -> torch.Tensor:
    size = [int(side) for side in sizes[2:]] if sizes is not None else [int(x.shape[2 + n] * scales[2 + n]) for n in (0, 1)]
    if how.get("mode", b"nearest") == b"nearest":
        return functional.interpolate(x, size, mode="nearest")
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Conv": _conv,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Relu": lambda _, x: torch.relu(x),
    "Sigmoid": lambda _, x: torch.sigmoid(x),
    "Softmax": lambda how, x: torch.softmax(x, how.get("axis", -1)),
    "Identity": lambda _, x: x,
    "Add": lambda _, x, y: x + y,
    "Concat": lambda how, *parts: torch.cat(parts, how["axis"]),
    "Flatten": lambda how, x: torch.flatten(x, how.get("axis", 1)),
    "GlobalAveragePool": lambda _, x: x.mean((2, 3), keepdim=True),
    "Constant": lambda how: torch.from_numpy(numpy_helper.to_array(how["value"]).copy()),
}
