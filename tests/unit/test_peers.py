"""What edgecell is measured beside: the detector is the published one, and both benchmarks measure what they say."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_bundle import make_tiny_bundle

pytest.importorskip("skimage")

from benchmarks import engines, peers, yolo
from benchmarks.watershed import WatershedSegmenter
from edgecell import app
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.engines.openvino import OpenVinoEngine
from edgecell.messages import NOTICE, NUCLEATED, RED_BLOOD_CELL, Frame
from edgecell.settings import PartSettings, Settings
from edgecell.sources.phantom import PhantomSource
from edgecell.stopwatch import Lap

OPENVINO = OpenVinoEngine.probe().usable
PHANTOM = PhantomSource.Options(width=640, height=480, pixel_um=0.2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("peers") / "tiny").path


@pytest.fixture(scope="module")
def images() -> list[Any]:
    with PhantomSource(PHANTOM) as source:
        frames = [source.read(1.0)]
    return [frame.image for frame in frames if frame is not None]


@pytest.fixture
def _threads() -> Any:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_the_detector_is_as_large_as_the_published_one(tmp_path: Path) -> None:
    parameters, gflop = yolo.write(tmp_path / "coco.onnx", 80)
    assert parameters == 3_151_904
    assert round(gflop, 1) == 8.7
    small, _ = yolo.write(tmp_path / "three.onnx", 3)
    assert small < parameters
    values = np.random.default_rng(0).random((1, 3, yolo.SIDE, yolo.SIDE), np.float32)
    with OnnxRuntimeEngine(tmp_path / "three.onnx", options=OnnxRuntimeOptions(threads=2)) as engine:
        boxes = engine.infer(values)["boxes"]
    assert boxes.shape == (1, 7, 80**2 + 40**2 + 20**2)
    middles, sizes = boxes[0, :2], boxes[0, 2:4]
    assert (middles > -16 * 32).all()
    assert (middles < yolo.SIDE + 16 * 32).all()
    assert (sizes > 0).all()
    assert ((boxes[0, 4:] > 0) & (boxes[0, 4:] < 1)).all()
    if OPENVINO:
        with OpenVinoEngine(tmp_path / "three.onnx") as other:
            np.testing.assert_allclose(other.infer(values)["boxes"], boxes, rtol=1e-3, atol=0.1)


def test_the_watershed_finds_what_was_drawn(images: list[Any]) -> None:
    found = WatershedSegmenter().segment(Frame(source_id="drawn", index=3, captured_ns=0, image=images[0])).cells
    kinds = [each.kind for each in found]
    assert kinds.count(NUCLEATED) > 0
    assert kinds.count(RED_BLOOD_CELL) > 10
    assert {each.frame_index for each in found} == {3}


def test_int8_beside_float_on_each_engine(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["--bundle", str(tiny), "--rounds", "3", "--batches", "1,4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["notice"] == NOTICE
    for found in result["by_batch"].values():
        assert list(found["times_faster"]) == engines.usable()
        for name, each in found["times_faster"].items():
            assert found["ms"][name]["p50"] > 0
            assert found["cpu_ms"][name] > 0
            if name.endswith(" float"):
                assert each["own_float"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
                assert each["cpu"] == 1.0
    assert engines.main(["--bundle", str(tiny), "--rounds", "2", "--batches", "1"]) == 0
    assert "| 1 | onnxrt u8s8 | " in capsys.readouterr().out
    assert engines.main(["--rounds", "0"]) == 2


def test_ratios_are_of_the_same_round() -> None:
    wall = {"onnxrt float": [10.0, 40.0, 30.0], "onnxrt u8s8": [5.0, 10.0, 10.0], engines.FIXED: [1.0, 1.0, 1.0]}
    values = {name: np.array(each) for name, each in wall.items()}
    found = engines.ratios(engines.Timed(wall=values, cpu=values, says={}))
    assert found["onnxrt u8s8"]["own_float"]["p50"] == 3.0
    assert found["onnxrt u8s8"]["cpu"] == 3.0
    assert engines.FIXED not in found


@pytest.mark.usefixtures("_threads")
def test_all_peers_and_edgecell_see_each_frame(tiny: Path, images: list[Any]) -> None:
    source = PartSettings(part="phantom", options={"width": 640, "height": 480, "pixel_um": 0.2})
    engine = PartSettings(part="onnxrt", options={"threads": 2})
    plan = app.plan(Settings(source=source, engine=engine, models={NUCLEATED: str(tiny)}))
    result = peers.compare(plan, images[:1], frames=2)
    assert result["frames"] == 2
    assert list(result["peers"]) == [peers.EDGECELL, *peers.names(), peers.FIXED]
    for name, each in result["peers"].items():
        assert each["frames"] == (1 if name == "watershed" else 2)
        assert each["p50_ms"] > 0
        assert each["processor_ms"] > 0
    assert result["peers"][peers.EDGECELL]["times_edgecell"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
    text = peers.as_text({**result, "processor": "any", "memory_mib": {peers.EDGECELL: 200.0}, "notice": NOTICE})
    assert "| naive | " in text
    assert "| 200 |" in text
    assert peers.alone("naive", plan, images) > 50


def test_a_peer_s_share_is_taken_frame_by_frame() -> None:
    lap = {"size_px": (8, 8), "cells": 0, "classified": 0, "stages_ms": {}, "engine_ms": 0.0, "began_ns": 0, "over_ns": 1}
    laps = [Lap(nucleated=2, end_to_end_ms=ms, **lap) for ms in (99.0, 10.0, 20.0)]  # type: ignore[arg-type]
    nothing = float("nan")
    rows = [
        {peers.EDGECELL: (nothing, cpu), "watershed": each, peers.FIXED: (1.0, 1.0)}
        for cpu, each in ((1.0, (1.0, 1.0)), (8.0, (30.0, 24.0)), (8.0, (nothing, nothing)))
    ]
    turns = peers.Turns(images=[], peers={"watershed": lambda image: 0}, taken=rows, laps=laps)
    found = peers.summary(turns, warmup=1)["peers"]
    assert found["watershed"]["frames"] == 1
    assert found["watershed"]["times_edgecell"]["p50"] == 3.0
    assert found["watershed"]["times_edgecell_processor"] == 3.0
    assert found[peers.EDGECELL]["p50_ms"] == 15.0
