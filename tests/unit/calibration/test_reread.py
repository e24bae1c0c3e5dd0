"""Reading an archive again in one process: what comes out, what a second run reads, what is said of what failed."""

import csv
import fcntl
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_line import called
from reread_archive import BROKEN, IMAGES, SLIDES, archive, contents, write_archive

from calibration.commands import cli
from calibration.reread.reading import Outcome
from calibration.reread.slides import slides
from calibration.reread.summary import Summary
from edgecell.errors import SettingsError, SourceUnavailable
from edgecell.messages import NOTICE
from edgecell.settings import PartSettings, Settings


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that no test changes."""
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's results, made once."""
    folder = tmp_path_factory.mktemp("results")
    archive(root, folder).read(None, None, lambda _: None)
    return folder


def read_again(root: Path, out: Path, settings: Settings | None = None) -> tuple[Summary, set[str]]:
    """The summary, and the slides that had to be read."""
    told: list[Outcome] = []
    chosen = archive(root, out) if settings is None else archive(root, out).__class__(root=root, out=out, settings=settings)
    found = chosen.read(None, None, told.append)
    return found, {each.slide for each in told if not each.kept}


def summary(out: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((out / "summary.json").read_text())
    return found


def test_slides_are_folders_in_natural_order_or_files(root: Path) -> None:
    folders = list(slides(root, of_file=False))
    assert [slide.name for slide in folders] == list(SLIDES)
    assert folders[1].files == ("s2/field0.png", "s2/field1.png", BROKEN)
    files = list(slides(root, of_file=True))
    assert [slide.files for slide in files] == [(file,) for slide in folders for file in slide.files]
    assert [slide.name for slide in slides(root / "s1", of_file=False)] == ["."]


def test_a_slide_says_what_count_says(root: Path, out: Path) -> None:
    """The frame path and its state are those of a run over the folder."""
    lines = [json.loads(line) for line in (out / "slides/ward/long.jsonl").read_text().splitlines()]
    head, *images, total = lines
    *counted, whole = called("count", root / "ward" / "long", "--json").documents
    assert [Path(each["image"]).name for each in counted] == [Path(each["image"]).name for each in images]
    for ours, theirs in zip(images, counted, strict=True):
        assert [cell | {"slide_um": None} for cell in ours["cells"]] == theirs["cells"]  # every frame counts: none has a place
        assert ours["pixel_um"] == theirs["pixel_um"]
    assert {label: count for label, count in whole["counts"].items() if count} == total["tally"]["counts"]
    assert (total["tally"]["unsure"], total["cells_total"]) == (whole["unsure"], whole["cells_total"])
    assert head["models"] == whole["models"]
    assert head["notice"] == NOTICE
    assert sum(total["tally"]["counts"].values()) > 20


def test_the_totals_reconcile(out: Path) -> None:
    rows = list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
    assert [row["slide"] for row in rows] == [*SLIDES, "TOTAL"]
    *each, total = rows
    numbers = [name for name in total if name not in ("slide", "domain", "notice")]
    for name in numbers:
        assert int(total[name]) == sum(int(row[name]) for row in each)
    assert {row["notice"] for row in rows} == {NOTICE}
    assert int(total["captured"]) == IMAGES == sum(int(total[name]) for name in ("processed", "gated", "failed"))
    cells = [name for name in numbers if name not in ("captured", "processed", "gated", "failed", "cells_total")]
    assert int(total["cells_total"]) == sum(int(total[name]) for name in cells)


def test_an_image_that_is_none_is_named_and_counted_as_failed(out: Path) -> None:
    found = summary(out)
    [row] = [row for row in found["slides"] if row["failed"]]  # type: ignore[attr-defined]
    assert row["failed"] == [{"image": BROKEN, "error": "cannot be decoded as an image"}]
    assert row["tally"]["frames"] == {"captured": 3, "processed": 2, "dropped": 0, "gated": 0, "failed": 1, "in_flight": 0}
    assert found["complete"]
    assert found["notice"] == NOTICE
    assert [(model["name"], len(model["sha256"])) for model in found["models"]] == [("pbc8", 64), ("cells3", 64)]  # type: ignore[attr-defined]


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """An archive of two slides of one field each, read once; a test may change it."""
    root, out = tmp_path / "archive", tmp_path / "results"
    whole = write_archive(tmp_path / "whole")
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "field.png").write_bytes((whole / "s1" / f"field{name == 'b':d}.png").read_bytes())
    assert read_again(root, out)[1] == {"a", "b"}
    return root, out


def test_a_second_run_reads_nothing_and_changes_nothing(small: tuple[Path, Path]) -> None:
    root, out = small
    before, times = contents(out), (out / "slides/a.jsonl").stat()
    assert read_again(root, out)[1] == set()
    assert contents(out) == before
    assert (out / "slides/a.jsonl").stat().st_ino == times.st_ino


def test_an_interrupted_run_goes_on_where_it_stopped(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, whole = small
    out = tmp_path / "interrupted"

    def interrupt(_: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive(root, out).read(None, None, interrupt)
    (out / "slides" / ".part-elsewhere-1-x").write_text("left by a killed process")
    assert set(contents(out)) == {".lock", "slides/a.jsonl", "slides/.part-elsewhere-1-x"}
    assert read_again(root, out)[1] == {"b"}
    assert contents(out) == contents(whole)


def test_a_changed_image_is_read_again_and_a_touched_one_is_not(small: tuple[Path, Path]) -> None:
    root, out = small
    image = root / "a" / "field.png"
    before = (out / "slides/a.jsonl").read_bytes()
    stamp = image.stat()
    os.utime(image)
    assert read_again(root, out)[1] == set(), "the same content"
    image.write_bytes((root / "b" / "field.png").read_bytes())
    os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert read_again(root, out)[1] == {"a"}, "a copy that keeps the old time is told all the same"
    assert (out / "slides/a.jsonl").read_bytes() != before


def test_another_image_in_the_folder_is_another_slide(small: tuple[Path, Path]) -> None:
    root, out = small
    (root / "a" / "field2.png").write_bytes((root / "b" / "field.png").read_bytes())
    found, read = read_again(root, out)
    assert read == {"a"}
    assert found.total.frames.captured == 3


def test_a_result_that_is_cut_short_or_of_other_settings_is_made_again(small: tuple[Path, Path]) -> None:
    root, out = small
    result = out / "slides/a.jsonl"
    before = contents(out)
    result.write_bytes(result.read_bytes()[:-10])
    assert read_again(root, out)[1] == {"a"}
    assert contents(out) == before
    told = Settings(segmenter=PartSettings(part="stain", options={"pixel_um": 0.1}))
    assert read_again(root, out, told)[1] == {"a", "b"}
    assert contents(out) != before


def test_a_slide_that_cannot_be_read_does_not_stop_the_others(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = small
    out = tmp_path / "blocked"
    (out / "slides" / "a.jsonl" / "in the way").mkdir(parents=True)
    ended = run(root, out)
    assert isinstance(ended.exception, SourceUnavailable)
    assert "1 of 2 slides were not read" in str(ended.exception)
    assert "not read: slide a: IsADirectoryError" in ended.stdout
    found = summary(out)
    assert (found["complete"], [each["slide"] for each in found["slides"]]) == (False, ["b"])  # type: ignore[attr-defined]


def run(root: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["reread", str(root), "--out", str(out), *more])


def test_the_command_prints_a_summary_or_json(small: tuple[Path, Path]) -> None:
    root, out = small
    plain, as_json = run(root, out), run(root, out, "--json")
    assert (plain.exit_code, as_json.exit_code) == (0, 0), plain.output + as_json.output
    assert plain.stdout.startswith("2 slides, 2 images: 2 counted, 0 gated, 0 failed\n")
    assert plain.stdout.rstrip().endswith(NOTICE)
    assert json.loads(as_json.stdout) == summary(out)


def test_each_file_may_be_a_slide(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = small
    ended = run(root, tmp_path / "files", "--slide-of", "file")
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "files/slides/a/field.png.jsonl").is_file()


def test_what_cannot_be_done_is_said(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, out = small
    assert "is no place to work. Fix: write dask://" in str(run(root, out, "--on", "ray://head:10001").exception)
    assert "go with --on dask" in str(run(root, out, *(f"--tls-{name}={__file__}" for name in ("ca", "cert", "key"))).exception)
    assert "give all three" in str(run(root, out, "--tls-ca", __file__).exception)
    (tmp_path / "empty").mkdir()
    assert "holds no images" in str(run(tmp_path / "empty", out).exception)
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SettingsError, match="another reread is writing there"):
            archive(root, out).read(None, None, lambda _: None)
