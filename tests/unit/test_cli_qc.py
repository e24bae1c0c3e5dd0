"""`edgecell qc`: on the drawn slide, whole, from the source to the journal."""

from pathlib import Path
from typing import Any

import cv2
import pytest
from command_line import Ended, called

from edgecell import clock, pipeline
from edgecell.drift import FIELDS
from edgecell.errors import FrameCorrupt, FrameTimeout
from edgecell.journal.verify import verify
from edgecell.messages import NOTICE, Frame
from edgecell.signature import new_keys
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

SOURCE = "phantom:width=480,height=320"


BOX = """
device_id = "bench-3"
models = {}
[segmenter]
part = "stain"
[source]
part = "phantom"
width = 480
height = 320
[publisher]
endpoint = "tcp://127.0.0.1:*"
"""
"""Without networks, to be quick: the lines of classes are left to one test."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings, and beside them the limits that the drawn slide gives."""
    path = tmp_path_factory.mktemp("qc") / "box.toml"
    path.write_text(f'{BOX}[qc]\nlimits = "qc.toml"\n', encoding="utf-8")
    made = called("qc", path, "--set-reference", "--slide", "QC 3", "--fields", 20)
    assert (made.code, made.err) == (0, "")
    assert made.out == f"{path.parent / 'qc.toml'}: what QC 3 showed in 20 fields is the reference now\n{NOTICE}\n"
    return path


def check(box: Path, *more: object) -> Ended:
    return called("qc", box, "--fields", 10, "--no-journal", *more)


def failed(ended: Ended) -> list[str]:
    return [line.split("  ")[1].strip() for line in ended.out.splitlines() if line.startswith("FAILED")]


def test_the_same_slide_passes(box: Path) -> None:
    ended = check(box)
    assert (ended.code, ended.err) == (0, "")
    assert "QC 3, 10 fields: passed; kept in no journal" in ended.out
    assert (ended.out.count("passed  "), failed(ended)) == (8 + 3, [])


def test_other_fields_of_its_kind_pass(box: Path) -> None:
    assert failed(check(box, "--source", f"{SOURCE},seed=9")) == []


@pytest.mark.parametrize(("change", "line"), [("vignette=0.6", "evenness"), ("pixel_um=0.09", "red_cell_px")])
def test_what_is_off_fails_by_name(change: str, line: str, box: Path) -> None:
    ended = check(box, "--source", f"{SOURCE},{change}")
    assert ended.code == 1
    assert line in failed(ended)
    assert f"the quality check of QC 3 failed in {len(failed(ended))} of 11 lines: " in ended.err
    assert "--set-reference" in ended.err


def test_classes_are_compared_too_and_the_phantom_alone_keeps_no_journal(tmp_path: Path) -> None:
    """With the networks that a run takes by default."""
    call = ["qc", "--source", SOURCE, "--limits", tmp_path / "qc.toml", "--fields", 10]
    assert called(*call, "--set-reference").code == 0
    ended = called(*call)
    assert (ended.code, failed(ended)) == (0, [])
    assert "reference slide, 10 fields: passed; kept in no journal" in ended.out
    assert ended.out.count("passed  ") == 8 + 3 + 6
    (tmp_path / "box.toml").write_text(BOX, encoding="utf-8")
    other = called("qc", tmp_path / "box.toml", *call[1:])
    assert other.code == 2
    assert f"{tmp_path / 'qc.toml'}: models are others than those of now" in other.err


def test_limits_that_are_there_are_replaced_only_when_asked(box: Path, tmp_path: Path) -> None:
    """Somebody may have changed them; and no minute is spent on what could not be kept."""
    before = (box.parent / "qc.toml").read_bytes()
    ended = called("qc", box, "--set-reference", "--fields", 10)
    assert ended.code == 2
    assert "is there, perhaps with limits changed by hand" in ended.err
    assert "--force" in ended.err
    assert (box.parent / "qc.toml").read_bytes() == before
    for place in (tmp_path, tmp_path / "nowhere" / "qc.toml"):
        assert "cannot be written" in called("qc", box, "--set-reference", "--limits", place).err
    assert "leave out --journal" in called("qc", box, "--set-reference", "--force", "--journal", tmp_path).err
    own = tmp_path / "qc.toml"
    own.write_bytes(before)
    assert called("qc", box, "--set-reference", "--force", "--fields", 10, "--slide", "QC 4", "--limits", own).code == 0
    assert "QC 4" in own.read_text(encoding="utf-8")


def test_the_result_is_in_the_journal_and_the_runs_after_it_say_so(box: Path, tmp_path: Path) -> None:
    new_keys("device", tmp_path)
    own = tmp_path / "box.toml"
    own.write_text(
        f'{BOX}[qc]\nlimits = "{box.parent / "qc.toml"}"\n[journal]\npath = "journal"\nkey = "device.signing.key"\n',
        encoding="utf-8",
    )
    first = called("qc", own, "--fields", 10, "--json")
    *lines, told = first.documents
    assert (first.code, told["passed"], told["journal_position"], told["device_id"]) == (0, True, 1, "bench-3")
    assert [each["passed"] for each in lines] == [True] * 11
    assert called("run", own, "--max-frames", 2).code == 0
    assert called("qc", own, "--source", f"{SOURCE},vignette=0.6", "--fields", 10).code == 1
    assert called("qc", own, "--fields", 10, "--no-journal").code == 0
    shown = called("journal", "show", tmp_path / "journal")
    assert "    quality check before it with QC 3, " in shown.out
    assert shown.out.count("failed in evenness") == 1
    run, one, other = called("journal", "show", tmp_path / "journal", "--json").documents
    assert run["quality_check"] == one["quality_check"]
    assert (one["quality_check"]["passed"], one["quality_check"]["position"]) == (True, 1)
    assert (other["quality_check"]["passed"], other["quality_check"]["slide"]) == (False, "QC 3")
    whole = verify(tmp_path / "journal")
    assert (whole.broken, whole.unchecked) == ("", other["quality_check"]["position"])


def test_another_device_s_check_says_nothing_of_a_run(box: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert called("qc", box, "--fields", 10, "--journal", journal).code == 0
    (tmp_path / "box.toml").write_text(BOX.replace("bench-3", "bench-4"), encoding="utf-8")
    run = called("run", tmp_path / "box.toml", "--max-frames", 1, "--journal", journal)
    assert run.code == 0, run.err
    shown, _ = called("journal", "show", journal, "--json").documents
    assert (shown["device_id"], shown["quality_check"]) == ("bench-4", None)


def test_a_slide_that_rests_tells_nothing(box: Path, tmp_path: Path) -> None:
    image = drawn()
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    ended = check(box, "--source", f"images:{tmp_path}")
    assert ended.code == 5
    assert "1 different fields could be counted (the others show the same field again)" in ended.err


def test_a_camera_of_which_every_frame_is_damaged_is_not_waited_for_for_ever(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(source: PhantomSource, timeout_s: float) -> Frame:
        raise FrameCorrupt("phantom: a damaged frame", fix="check the cable", index=0)

    monkeypatch.setattr(PhantomSource, "read", damaged)
    own = tmp_path / "box.toml"
    own.write_text(f'{BOX}[qc]\nlimits = "{box.parent / "qc.toml"}"\n[run]\nread_timeout_s = 0.2\n', encoding="utf-8")
    ended = check(own)
    assert ended.code == 5
    assert "a damaged frame. Fix: check the cable" in ended.err


def test_time_that_is_spent_on_a_frame_is_no_silence_of_the_camera(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera needs a second for a frame, a look at it takes a minute."""
    now_ns, late = [0], [False]
    take = PhantomSource.read

    def read(source: PhantomSource, timeout_s: float) -> Frame | None:
        late[0] = not late[0]
        if late[0]:
            now_ns[0] += 10**9
            raise FrameTimeout("phantom: no frame", fix="wait")
        return take(source, timeout_s)

    def look(*given: Any) -> Any:
        now_ns[0] += 60 * 10**9
        return detect(*given)

    detect = pipeline.detect
    monkeypatch.setattr(pipeline, "detect", look)
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(PhantomSource, "read", read)
    ended = check(box)
    assert (ended.code, ended.err) == (0, "")


def drawn() -> "cv2.typing.MatLike":
    with PhantomSource(Options(width=480, height=320)) as source:
        frame = source.read(1.0)
    assert frame is not None
    return frame.image[..., ::-1]


def test_without_limits_it_says_where_they_belong(tmp_path: Path) -> None:
    ended = called("qc")
    assert ended.code == 2
    assert "give --limits FILE, or limits in [qc]" in ended.err
    gone = called("qc", "--limits", tmp_path / "gone.toml")
    assert gone.code == 2
    assert "gone.toml cannot be read" in gone.err
    assert called("qc", "--limits", tmp_path / "x.toml", "--journal", tmp_path, "--no-journal").code == 2


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129])
def test_a_slide_s_name_that_no_limits_file_takes_is_refused(name: str, tmp_path: Path) -> None:
    ended = called("qc", "--source", SOURCE, "--limits", tmp_path / "qc.toml", "--set-reference", "--slide", name)
    assert ended.code == 2
    assert "a name has 1 to 128 printable characters" in ended.err
    assert not (tmp_path / "qc.toml").exists()


def test_a_run_is_compared_with_the_optics_file_of_its_settings(tmp_path: Path) -> None:
    (tmp_path / "optics.toml").write_text(
        "size_px = [480, 320]\n[exposure]\nlevel = [250.0, 245.0, 240.0]\naim = [200.0, 252.0]\n", encoding="utf-8"
    )
    box = tmp_path / "box.toml"
    box.write_text(f'{BOX}[optics]\nfile = "optics.toml"\n', encoding="utf-8")
    ended = called("run", box, "--max-frames", FIELDS + 1, "--no-journal", "--json")
    assert ended.code == 0, ended.err
    remarks = [text for message in ended.documents for text in message.get("remarks", ())]
    assert any(
        text.startswith("lamp: the background is 1") and text.endswith("less than in the optics file") for text in remarks
    )
    assert any(text.startswith("white point: ") for text in remarks)
