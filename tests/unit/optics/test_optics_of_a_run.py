"""What an optics file does to a run and to counted fields, from the settings to the journal."""

import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from command_line import Ended, called
from numpy.typing import NDArray
from pictures import HEIGHT, PIXEL_UM, WIDTH, encoded, field, write_fields
from tiny_bundle import make_tiny_bundle

from edgecell.gate import Limits, limits_of
from edgecell.journal.reader import Reader
from edgecell.optics.correct import evening
from edgecell.optics.file import FlatField, Focus, Optics, PixelSize, save

BARE = Optics(size_px=(WIDTH, HEIGHT))
TOLD = msgspec.structs.replace(BARE, scale=PixelSize(pixel_um=(PIXEL_UM, PIXEL_UM), how="told"))
LAMP = ((90.0, 150.0, 110.0), (140.0, 240.0, 160.0), (80.0, 150.0, 100.0))
SHADED = FlatField(red=LAMP, green=LAMP, blue=tuple(tuple(level - 40 for level in row) for row in LAMP))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("optics") / "tiny").path


@pytest.fixture
def bench(tiny: Path, tmp_path: Path) -> Path:
    """Settings of a run over three fields, without optics; the journal lies beside."""
    write_fields(tmp_path / "fields", 3)
    path = tmp_path / "bench.toml"
    path.write_text(
        'source = {part = "images", path = "fields"}\n'
        'segmenter = {part = "stain"}\n'
        f"models = {{nucleated = {json.dumps(str(tiny))}}}\n"
        'publisher = {endpoint = "tcp://127.0.0.1:*"}\n'
        'journal = {path = "journal"}\n'
    )
    return path


def with_optics(bench: Path, optics: Optics) -> Path:
    save(optics, bench.parent / "optics.toml")
    path = bench.with_name("seen.toml")
    path.write_text(f'{bench.read_text()}optics = {{file = "optics.toml"}}\n')
    return path


def last(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    return ended.documents[-1]


COUNTED = ("cumulative", "unsure", "excluded", "cells_total", "frames")


def test_a_file_without_measurements_changes_no_count(bench: Path) -> None:
    plain, seen = last(called("run", bench, "--json")), last(called("run", with_optics(bench, BARE), "--json"))
    assert {name: seen[name] for name in COUNTED} == {name: plain[name] for name in COUNTED}
    assert plain["cells_total"] > 50


def test_the_scale_of_the_file_is_the_run_s(bench: Path) -> None:
    message = last(called("run", with_optics(bench, TOLD), "--json"))
    assert (message["pixel_um"], message["pixel_um_source"]) == (PIXEL_UM, "optics")


def test_the_journal_says_how_frames_were_corrected_and_holds_a_resumed_run_to_it(bench: Path) -> None:
    """The second field is of another size, which ends the run before its end."""
    (bench.parent / "fields" / "field1.png").write_bytes(encoded(".png", field(1)[:-1, :, ::-1]))
    seen = with_optics(bench, msgspec.structs.replace(TOLD, flat=SHADED))
    assert called("run", seen).code == 2
    with Reader.open(bench.parent / "journal") as reader:
        [run_id] = reader.run_ids()
        started = reader.run(run_id).started
    assert started is not None
    assert msgspec.convert(started.settings["optics"], Optics) == msgspec.structs.replace(TOLD, flat=SHADED)
    save(msgspec.structs.replace(TOLD, flat=SHADED, camera="another"), bench.parent / "optics.toml")
    resumed = called("run", seen, "--resume", run_id)
    assert resumed.code == 8
    assert "made with other settings" in resumed.err
    assert "(optics.camera: '' then, 'another' now)" in resumed.err
    save(msgspec.structs.replace(TOLD, flat=SHADED), bench.parent / "optics.toml")
    again = called("run", seen, "--resume", run_id)
    assert again.code == 0, again.err
    assert f"run {run_id} goes on after " in again.err


def test_frames_of_another_camera_end_the_run_with_the_fix(bench: Path) -> None:
    ended = called("run", with_optics(bench, Optics(size_px=(1920, 1200))), "--json")
    assert ended.code == 2
    assert "size_px is 1920x1200, and the frame field0.png is 640x480" in ended.err
    assert "edgecell" in ended.err


def test_two_scales_that_do_not_agree_are_refused(bench: Path) -> None:
    seen = with_optics(bench, TOLD)
    seen.write_text(seen.read_text().replace('part = "stain"', 'part = "stain", pixel_um = 0.2'))
    for ended in (called("run", seen), called("check", seen)):
        assert ended.code == 2
        assert "has 0.1 um a pixel, and [segmenter] pixel_um is 0.2" in ended.err


def test_check_says_what_the_file_holds(bench: Path) -> None:
    seen = with_optics(bench, msgspec.structs.replace(TOLD, flat=SHADED))
    ended = called("check", seen)
    assert ended.code == 0
    assert "optics.toml: scale, flat" in ended.out
    (bench.parent / "optics.toml").write_text("size_px = [1920]\n")
    ended = called("check", seen)
    assert ended.code == 2
    assert "size_px" in ended.err


def shaded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image as the camera of SHADED would have taken it, its clear background being at 255."""
    return np.clip(np.rint(image * (1 / evening(SHADED, (WIDTH, HEIGHT)))), 0, 255).astype(np.uint8)


def test_fields_in_the_shade_are_counted_as_those_in_the_light(tiny: Path, tmp_path: Path) -> None:
    """A lamp that loses two thirds of its light towards the corners; pictures are drawn in the colours that were counted."""
    write_fields(tmp_path / "light", 3)
    (tmp_path / "shade").mkdir()
    for index in range(3):
        (tmp_path / "shade" / f"field{index}.png").write_bytes(encoded(".png", shaded(field(index))[..., ::-1]))
    save(msgspec.structs.replace(TOLD, flat=SHADED), tmp_path / "optics.toml")
    count = ("--bundle", tiny, "--segmenter", "stain", "--json")
    light = last(called("count", tmp_path / "light", *count, "--pixel-um", PIXEL_UM))
    corrected = called("count", tmp_path / "shade", *count, "--optics", tmp_path / "optics.toml", "--overlay", tmp_path / "out")
    ended = last(corrected)
    assert light["cells_total"] > 50
    assert ended["cells_total"] == pytest.approx(light["cells_total"], rel=0.03)
    picture = cv2.imread(str(tmp_path / "out" / "field0.overlay.png"))
    assert picture is not None
    assert picture[:HEIGHT].astype(float).mean() > shaded(field(0)).mean() * 1.2


def test_bench_times_the_correction_as_a_stage_of_its_own(bench: Path) -> None:
    seen = with_optics(bench, msgspec.structs.replace(TOLD, flat=SHADED))
    [told] = called("bench", "--settings", seen, "--frames", "3", "--warmup", "0", "--preload", "--json").documents
    assert list(told["stages_ms"])[:4] == ["read", "wait", "correct", "gate"]
    assert 0 < told["stages_ms"]["correct"]["p50"] < 1000


def test_the_focus_of_the_file_limits_the_gate_from_the_first_frame_on() -> None:
    assert limits_of(None) == Limits()
    assert limits_of(0.42).blur_um == 0.42
    assert limits_of(3.0).blur_um == Limits().blur_um, "never wider"
    assert limits_of(0.01).blur_um == 0.35, "never more than a lens can do"


def test_soft_frames_are_refused_where_the_file_says_how_sharp_they_can_be(bench: Path) -> None:
    """At 0.44 um the fields pass the usual limit of 0.5 um."""
    for file in (bench.parent / "fields").iterdir():
        image = cv2.imread(str(file))
        assert image is not None
        cv2.imwrite(str(file), cv2.GaussianBlur(image, (0, 0), 0.4 / PIXEL_UM))
    assert last(called("run", with_optics(bench, TOLD), "--json"))["frames"]["gated"] == 0
    focus = Focus(sharpest_um=0.15, softest_um=0.36)
    assert last(called("run", with_optics(bench, msgspec.structs.replace(TOLD, focus=focus)), "--json"))["frames"]["gated"] == 3
