"""Nodes of an ONNX file by their number, read without the onnx package: the same as the package says."""

from pathlib import Path

import onnx
import pytest

from edgecell.bundle import SHIPPED
from edgecell.engines.trt.onnxnodes import node_text


@pytest.mark.parametrize("name", ["pbc8/s8s8.onnx", "cells3/float.onnx"])
def test_names_are_those_that_onnx_reads(name: str) -> None:
    nodes = onnx.load(SHIPPED / name).graph.node
    assert len(nodes) > 10
    for index in {0, 7, len(nodes) - 1}:
        assert node_text(SHIPPED / name, index) == f"{nodes[index].name!r} ({nodes[index].op_type})"
    assert node_text(SHIPPED / name, len(nodes)) == ""


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x3a\xff\xff\xff", bytes(range(256)) * 9])
def test_a_file_that_is_no_model_has_no_names(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert node_text(tmp_path / "model.onnx", 0) == ""
