"""Which node of an ONNX file a number means: TensorRT before 10.3 gives its parser's errors no name.

Reads the few fields of the protobuf message that it needs (onnx.proto: ModelProto.graph 7, GraphProto.node 1, NodeProto.name 3
and op_type 4), since the onnx package is no part of a device.
"""

from collections.abc import Iterator
from pathlib import Path

_GRAPH, _NODE, _NAME, _OPERATOR = 7, 1, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types


def node_text(model: Path, index: int) -> str:
    """`'stem.0' (Conv)` of node `index`; "" where the file does not say. Raises OSError."""
    try:
        graph = next(value for number, value in _fields(memoryview(model.read_bytes())) if number == _GRAPH)
        nodes = [value for number, value in _fields(graph) if number == _NODE]
        node = dict(_fields(nodes[index]))
    except (StopIteration, IndexError, ValueError):
        return ""
    name, operator = (bytes(node.get(number, b"")).decode("utf-8", "replace") for number in (_NAME, _OPERATOR))
    return f"{name!r} ({operator})"


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that holds bytes, the others passed over. Raises IndexError, ValueError."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, at = _varint(message, at)
            yield key >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind} in an ONNX file")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number and where the next field begins."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits in an ONNX file")
