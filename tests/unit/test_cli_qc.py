"""`edgecell qc`: on the drawn slide, whole, from the source to the journal."""

from pathlib import Path

import cv2
import pytest
from command_line import Ended, called

from edgecell.journal.verify import verify
from edgecell.messages import NOTICE
from edgecell.signature import new_keys
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

SOURCE = "phantom:width=480,height=320"


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The limits that the drawn slide gives."""
    path = tmp_path_factory.mktemp("qc") / "qc.toml"
    made = called("qc", "--source", SOURCE, "--limits", path, "--set-reference", "--slide", "QC 3", "--fields", 20)
    assert (made.code, made.err) == (0, "")
    assert made.out == f"{path}: what QC 3 showed in 20 fields is the reference now\n{NOTICE}\n"
    return path


def check(limits: Path, *more: object, source: str = SOURCE) -> Ended:
    return called("qc", "--source", source, "--limits", limits, "--fields", 10, *more)


def test_the_same_slide_passes_and_nothing_of_the_phantom_is_kept(limits: Path) -> None:
    ended = check(limits)
    assert (ended.code, ended.err) == (0, "")
    assert "FAILED" not in ended.out
    assert "QC 3, 10 fields: passed; kept in no journal" in ended.out
    assert ended.out.count("passed  ") == 8 + 3 + 6


@pytest.mark.parametrize(
    ("change", "line"),
    [("vignette=0.6", "evenness"), ("pixel_um=0.09", "red_cell_px"), ("seed=9", "")],
)
def test_what_is_off_fails_by_name(change: str, line: str, limits: Path) -> None:
    ended = check(limits, source=f"{SOURCE},{change}")
    failed = [each.split("  ")[1].strip() for each in ended.out.splitlines() if each.startswith("FAILED")]
    assert (ended.code == 1) == bool(line)
    assert line in failed if line else not failed
    if line:
        assert f"the quality check of QC 3 failed in {len(failed)} of 17 lines: " in ended.err
        assert "--set-reference" in ended.err


def test_the_result_is_in_the_journal_and_the_runs_after_it_say_so(limits: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    new_keys("device", tmp_path)
    box = tmp_path / "box.toml"
    box.write_text(
        f'device_id = "bench-3"\n[qc]\nlimits = "{limits}"\n[source]\npart = "phantom"\nwidth = 480\nheight = 320\n'
        f'[journal]\npath = "journal"\nkey = "device.signing.key"\n[publisher]\nendpoint = "tcp://127.0.0.1:*"\n',
        encoding="utf-8",
    )
    first = called("qc", box, "--fields", 10, "--json")
    *lines, told = first.documents
    assert (first.code, told["passed"], told["journal_position"], told["device_id"]) == (0, True, 1, "bench-3")
    assert len(lines) == 17
    assert all(each["passed"] for each in lines)
    assert called("run", box, "--max-frames", 2).code == 0
    assert called("qc", box, "--source", f"{SOURCE},vignette=0.6", "--fields", 10).code == 1
    shown = called("journal", "show", journal)
    assert "    quality check before it with QC 3, " in shown.out
    run, one, other = called("journal", "show", journal, "--json").documents
    assert run["quality_check"] == one["quality_check"]
    assert (one["quality_check"]["passed"], one["quality_check"]["position"]) == (True, 1)
    assert (other["quality_check"]["passed"], other["quality_check"]["slide"]) == (False, "QC 3")
    assert shown.out.count("failed in evenness") == 1
    assert (verify(journal).broken, verify(journal).unchecked) == ("", other["quality_check"]["position"])


def test_another_device_s_check_says_nothing_of_a_run(limits: Path, tmp_path: Path) -> None:
    assert check(limits, "--journal", tmp_path / "journal").code == 0
    box = tmp_path / "box.toml"
    box.write_text('device_id = "bench-4"\n[publisher]\nendpoint = "tcp://127.0.0.1:*"\n', encoding="utf-8")
    run = called("run", box, "--source", SOURCE, "--max-frames", 1, "--journal", tmp_path / "journal")
    assert run.code == 0, run.err
    shown, _ = called("journal", "show", tmp_path / "journal", "--json").documents
    assert shown["quality_check"] is None


def test_a_slide_that_rests_tells_nothing(limits: Path, tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    fields.mkdir()
    image = drawn()
    for number in range(12):
        cv2.imwrite(str(fields / f"{number}.png"), image)
    ended = check(limits, source=f"images:{fields}")
    assert ended.code == 5
    assert "1 different fields could be counted (the others show the same field again)" in ended.err


def drawn() -> "cv2.typing.MatLike":
    with PhantomSource(Options(width=480, height=320)) as source:
        frame = source.read(1.0)
    assert frame is not None
    return frame.image[..., ::-1]


def test_other_models_are_not_compared(limits: Path, tmp_path: Path) -> None:
    other = tmp_path / "qc.toml"
    other.write_text(limits.read_text(encoding="utf-8").replace("nucleated: pbc8", "nucleated: other"), encoding="utf-8")
    ended = check(other)
    assert ended.code == 2
    assert f"{other}: models are others than those of now" in ended.err


def test_without_limits_it_says_where_they_belong(tmp_path: Path) -> None:
    ended = called("qc")
    assert ended.code == 2
    assert "give --limits FILE, or limits in [qc]" in ended.err
    gone = called("qc", "--limits", tmp_path / "gone.toml")
    assert gone.code == 2
    assert "gone.toml cannot be read" in gone.err
    assert called("qc", "--limits", tmp_path / "x.toml", "--journal", tmp_path, "--no-journal").code == 2
