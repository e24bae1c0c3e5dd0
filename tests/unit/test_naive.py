"""The naive baseline finds what is there, and its comparison with edgecell is made frame by frame."""

import json
from pathlib import Path

import cv2
import pytest
from tiny_bundle import make_tiny_bundle

from benchmarks.naive import Naive, Rivals, as_text, main, summary
from edgecell.bundle import open_bundle
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.imagefile import load_image
from edgecell.messages import NOTICE
from edgecell.sources.phantom import PhantomSource
from edgecell.stopwatch import Lap

PIXEL_UM = 0.2
PHANTOM = PhantomSource.Options(width=640, height=480, pixel_um=PIXEL_UM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of the phantom as images, and the tiny bundle beside them."""
    folder = tmp_path_factory.mktemp("naive")
    (folder / "fields").mkdir()
    with PhantomSource(PHANTOM) as source:
        for index in range(2):
            frame = source.read(1.0)
            assert frame is not None
            cv2.imwrite(str(folder / f"fields/{index}.png"), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    make_tiny_bundle(folder / "tiny")
    return folder


def test_each_nucleated_cell_gets_a_class(folder: Path) -> None:
    bundle = open_bundle(folder / "tiny")
    image = load_image(folder / "fields/0.png")
    with OnnxRuntimeEngine(bundle.file("float.onnx"), manifest=bundle.manifest) as engine:
        naive = Naive(engine=engine, bundle=bundle, pixel_um=PIXEL_UM)
        boxes, labels = naive.find(image), naive.count(image)
    assert len(boxes) == len(labels) > 0
    assert set(labels) <= set(range(len(bundle.class_names)))


def test_the_comparison_of_a_real_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = cv2.getNumThreads()
    arguments = ["--images", str(folder / "fields"), "--frames", "3", "--threads", "1", "--bundle", str(folder / "tiny")]
    try:
        assert main([*arguments, "--json"]) == 0
    finally:
        cv2.setNumThreads(threads)
    answer = json.loads(capsys.readouterr().out)
    assert answer["frames"] == 3
    assert answer["threads"] == {"naive": 1, "edgecell": 1}
    assert answer["nucleated_per_frame"]["edgecell"] > 0
    assert answer["ms"].keys() == {"naive", "edgecell", "fixed_work"}
    assert answer["naive_over_edgecell"]["p10"] <= answer["naive_over_edgecell"]["p50"] <= answer["naive_over_edgecell"]["p90"]
    assert answer["notice"] == NOTICE


def test_ratios_are_of_the_same_frame_and_the_warm_up_is_left_out(folder: Path) -> None:
    bundle = open_bundle(folder / "tiny")
    naive = Naive(engine=OnnxRuntimeEngine(bundle.file("float.onnx")), bundle=bundle, pixel_um=PIXEL_UM)
    rivals = Rivals(images=[], naive=naive, threads=2)
    rivals.naive_ms.extend([900, 10, 40, 90])
    rivals.fixed_ms.extend([9, 1, 1, 1])
    rivals.nucleated.extend([5, 1, 2, 3])
    rivals.laps.extend(lap(milliseconds) for milliseconds in (1, 10, 20, 30))
    result = summary(rivals, warmup=1)
    assert result["frames"] == 3
    assert result["naive_over_edgecell"]["p50"] == 2.0
    assert result["ms"]["naive"].p50 == 40
    assert result["ms"]["fixed_work"].p99 == 1
    assert result["nucleated_per_frame"] == {"naive": 2.0, "edgecell": 1.0}
    text = as_text(result)
    assert "| naive | 40.0 |" in text
    assert "naive / edgecell: 2.00 (median" in text
    assert NOTICE in text


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", str(tmp_path), "--frames", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def lap(milliseconds: float) -> Lap:
    return Lap(
        size_px=(4, 4),
        cells=1,
        nucleated=1,
        classified=1,
        stages_ms={},
        engine_ms=0,
        end_to_end_ms=milliseconds,
        began_ns=0,
        over_ns=round(milliseconds * 1e6),
    )
