"""The stopwatch: what it says of a run whose times are known, and of a real run."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle

from edgecell import stopwatch
from edgecell.bench import spread
from edgecell.cli.bench import command
from edgecell.errors import FrameCorrupt, SourceUnavailable
from edgecell.messages import NOTICE, Frame, FrameReport, Verdict
from edgecell.protocols import Progress
from edgecell.stopwatch import STAGES, Stopwatch, TimedSource

PHANTOM = "phantom:width=480,height=320,pixel_um=0.2"
USUAL = [stage for stage in STAGES if stage != "correct"]
"""Without an optics file."""


def run_bench(tmp_path: Path, *arguments: str) -> Result:
    """`edgecell bench` with the tiny bundle."""
    make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "bench.toml").write_text('[models]\nnucleated = "./tiny"\n')
    return CliRunner().invoke(command, ["--settings", str(tmp_path / "bench.toml"), *arguments])


def test_percentiles_of_known_values() -> None:
    figures = spread([float(value) for value in range(101)])
    assert (figures.p50, figures.p95, figures.p99, figures.mean) == (50.0, 95.0, 99.0, 50.0)
    assert spread([3.0]).p99 == 3.0


def test_memory_is_the_peak_of_this_process() -> None:
    """In a process of its own: in this one other tests may have held more before."""
    code = (
        "import numpy as np\n"
        "from edgecell.bench import rss_peak_mib\n"
        "before = rss_peak_mib(); block = np.ones(256 << 20, np.uint8); print(rss_peak_mib() - before)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert 128 < float(told.stdout) < 512


class Ticking:
    """A stand-in clock that moves only when told, in milliseconds."""

    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        return self.ns

    def passes(self, milliseconds: float) -> None:
        self.ns += round(milliseconds * 1e6)


def test_laps_overlap_and_are_split_into_their_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = Ticking()
    ticking.passes(1000)
    monkeypatch.setattr(stopwatch, "clock", ticking)
    watch = Stopwatch(lambda _: None)
    watch.reading()
    ticking.passes(3)
    watch.reading()  # a time-out was in between
    ticking.passes(4)
    first = frame(0, captured_ns=ticking.ns - 1_000_000)
    watch.captured(first)
    watch.reading()
    ticking.passes(10)
    second = frame(1, captured_ns=ticking.ns)
    watch.captured(second)
    watch.reading()  # for a third, which never comes
    ticking.passes(16)
    path_us = {"wait": 1000, "correct": 2000, "gate": 1000, "segment": 12_000, "drift": 500, "classify": 8000}
    watch.settled(report(first, path_us, engine_us=3000), unasked)
    ticking.passes(5)
    watch.served()
    watch.served()  # nothing in hand: no lap
    ticking.passes(6)
    watch.settled(report(second, {"wait": 20_000, "gate": 1000}), unasked)
    watch.served()
    one, two = watch.laps
    expected = {
        "read": 7,
        "wait": 1,
        "correct": 2,
        "gate": 1,
        "segment": 12,
        "drift": 0.5,
        "classify": 8,
        "tally": 1.5,
        "publish": 5,
    }
    assert one.stages_ms == pytest.approx(expected)
    assert tuple(one.stages_ms) == STAGES
    assert (one.engine_ms, one.end_to_end_ms) == (3, 1 + sum(expected.values()) - expected["read"])
    assert two.stages_ms == pytest.approx({"read": 10, "wait": 20, "gate": 1, "tally": 6, "publish": 0})
    assert (two.engine_ms, two.end_to_end_ms) == (0, 27)
    assert (two.over_ns - one.over_ns, one.over_ns - one.began_ns) == (6_000_000, 38_000_000)


def test_a_frame_that_failed_is_no_lap() -> None:
    watch = Stopwatch(lambda _: None)
    watch.reading()
    watch.settled(None, unasked)
    watch.served()
    assert watch.laps == []


@pytest.mark.parametrize("preload", [False, True])
def test_json_of_a_real_run(tmp_path: Path, preload: bool) -> None:
    result = run_bench(tmp_path, "--source", PHANTOM, "--frames", "6", "--warmup", "2", "--json", *["--preload"] * preload)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["schema"] == "bench/1"
    assert answer["frames"] == 6
    assert answer["preloaded"] == (6 if preload else 0)
    assert answer["sizes_px"] == [[480, 320]]
    assert answer["fates"]["captured"] == answer["fates"]["processed"] == 8
    assert answer["fps"] > 0
    assert answer["rss_peak_mib"] > 10
    assert answer["pixel_um"] == pytest.approx(0.2, rel=0.3)
    assert answer["threads"]["opencv"] == int(os.environ.get("OPENCV_FOR_THREADS_NUM", "1"))
    assert answer["threads"]["engines"] == [model["engine"] for model in answer["models"]]
    assert answer["machine"]["onnxruntime"]
    assert answer["notice"] == NOTICE
    assert list(answer["stages_ms"]) == USUAL
    for figures in [*answer["stages_ms"].values(), *answer["classify_ms"].values(), answer["end_to_end_ms"]]:
        assert 0 <= figures["p50"] <= figures["p95"] <= figures["p99"]


def test_stages_add_up(tmp_path: Path) -> None:
    answer = json.loads(run_bench(tmp_path, "--source", PHANTOM, "--frames", "5", "--preload", "--json").stdout)
    means = {stage: figures["mean"] for stage, figures in answer["stages_ms"].items()}
    assert sum(means.values()) - means["read"] <= answer["end_to_end_ms"]["mean"] + 1e-9
    assert 1000 / answer["fps"] <= 1.1 * sum(means.values())  # laps overlap, and leave hardly a gap
    assert sum(figures["mean"] for figures in answer["classify_ms"].values()) == pytest.approx(means["classify"])


def test_the_table_names_every_stage_and_the_notice(tmp_path: Path) -> None:
    result = run_bench(tmp_path, "--source", PHANTOM, "--frames", "3", "--warmup", "0", "--preload")
    assert result.exit_code == 0, result.output
    for words in (*USUAL, "crops", "engine", "end to end", "3 read in advance", "480x320", "threads: OpenCV", NOTICE):
        assert words in result.stdout


def test_images_start_over_and_damaged_ones_are_counted_as_failed(tmp_path: Path) -> None:
    folder = tmp_path / "fields"
    folder.mkdir()
    rng = np.random.default_rng(4)
    for name in ("a", "c"):
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8))
    (folder / "b.png").write_bytes(b"no image")
    answer = json.loads(run_bench(tmp_path, "--source", f"images:{folder}", "--frames", "7", "--warmup", "0", "--json").stdout)
    assert answer["fates"]["captured"] == 7
    assert answer["fates"]["failed"] == 2
    assert answer["frames"] == 5
    assert answer["dropped"] == 0


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    result = run_bench(tmp_path, "--source", "phantom:frames=0", "--frames", "3")
    assert isinstance(result.exception, SourceUnavailable)
    assert "--warmup" in str(result.exception)


class Ending:
    """A stand-in source of three frames, the second damaged."""

    source_id = "ending"
    live = False

    def __init__(self) -> None:
        self._index = 0

    def __enter__(self) -> "Ending":
        self._index = 0
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, timeout_s: float) -> Frame | None:
        index, self._index = self._index, self._index + 1
        if index == 1:
            raise FrameCorrupt("damaged", index=index)
        return frame(index) if index < 3 else None


@pytest.mark.parametrize(("preload", "expected"), [(0, [0, -1, 2, 3, -4, 5, 6]), (2, [0, 1, 2, 3, 4, 5, 6])])
def test_a_source_that_ends_is_numbered_on(preload: int, expected: list[int]) -> None:
    timed = type("Timed", (TimedSource,), {"part": Ending, "watch": Stopwatch(lambda _: None), "preload": preload})
    with timed() as source:
        indices = [read(source) for _ in expected]
    assert indices == expected


def read(source: TimedSource) -> int:
    """The index of the next frame, negative for a damaged one."""
    try:
        seen = source.read(0.1)
    except FrameCorrupt as error:
        return -error.index
    assert seen is not None
    return seen.index


def unasked() -> Progress:
    raise AssertionError("a bench must not spend time on progress")


def frame(index: int, captured_ns: int = 0) -> Frame:
    image: NDArray[np.uint8] = np.zeros((4, 6, 3), np.uint8)
    return Frame(source_id="test", index=index, captured_ns=captured_ns, image=image)


def report(seen: Frame, stage_us: Mapping[str, float], engine_us: float = 0) -> FrameReport:
    return FrameReport(
        frame_index=seen.index,
        captured_ns=seen.captured_ns,
        label="",
        verdict=Verdict(accepted=True, reason="", focus=1, mean_level=0.5, saturated_fraction=0),
        cells=(),
        classifications=(),
        pixel_um=None,
        pixel_um_source="unknown",
        stage_us=stage_us,
        engine_us=engine_us,
    )
