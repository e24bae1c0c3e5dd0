"""What is handed to the building process, and what is told of a build."""

from pathlib import Path

import pytest

from edgecell.engines.trt.request import BuildRequest, Progress, Shapes

SHAPES = {"input": Shapes(min=(1, 3, 16, 16), opt=(2, 3, 480, 768), max=(4, 3, 4096, 4096))}


@pytest.mark.parametrize("cache", [None, Path("/somewhere/kernels.cache")])
def test_a_request_survives_json(cache: Path | None) -> None:
    asked = BuildRequest(
        model=Path("/bundles/s8s8.onnx"),
        plan=Path("/plans/a.plan"),
        precision="int8",
        shapes=SHAPES,
        workspace_bytes=1 << 30,
        timing_cache=cache,
        device=1,
    )
    assert BuildRequest.from_json(asked.to_json()) == asked
    assert "\n" not in asked.to_json()


def test_its_paths_do_not_depend_on_the_reader_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = BuildRequest(model=Path("a.onnx"), plan=Path("b.plan"), precision="fp16", shapes=SHAPES, workspace_bytes=1)
    read = BuildRequest.from_json(asked.to_json())
    assert (read.model, read.plan) == (tmp_path / "a.onnx", tmp_path / "b.plan")


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(elapsed_s=12.4, phase="Timing graph nodes", step=3, steps=40), "Timing graph nodes 3/40, 12 s"),
        (Progress(elapsed_s=61.0, phase="building the int8 plan"), "building the int8 plan, 61 s"),
    ],
)
def test_progress_is_one_line(progress: Progress, text: str) -> None:
    assert str(progress) == text
