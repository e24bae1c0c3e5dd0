"""`edgecell snap`: one frame, pixel by pixel, and what is known of it."""

import errno
import hashlib
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import called

from edgecell import clock, sources
from edgecell.imagefile import load_image
from edgecell.messages import NOTICE
from edgecell.sources.images import ImagesSource
from edgecell.sources.phantom import PhantomSource

PHANTOM = "phantom:width=160,height=96,frames=4"


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """A folder of four images, the second one truncated."""
    folder = tmp_path / "fields"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"field{number}.png"), np.full((40, 60, 3), (10 * number, 20, 200), np.uint8))
    whole = (folder / "field1.png").read_bytes()
    (folder / "field1.png").write_bytes(whole[:-20])
    return folder


def test_the_picture_is_the_frame_and_the_metadata_tell_of_it(tmp_path: Path, fields: Path) -> None:
    out = tmp_path / "taken.png"
    ended = called("snap", "--source", f"images:{fields}", "--skip", 1, "-o", out)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{out}: 60x40, frame 2 of images; level 0.")
    assert np.array_equal(load_image(out), load_image(fields / "field2.png"))
    told = json.loads((tmp_path / "taken.json").read_text())
    assert told["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (told["index"], told["label"], told["passed_over"]) == (2, "field2.png", 1)
    assert told["source"] == {"part": "images", "path": str(fields)}
    assert told["verdict"]["reason"] in ended.out
    assert told["notice"] == NOTICE
    captured = datetime.fromisoformat(told["captured_utc"].replace("Z", "+00:00"))
    assert timedelta(0) <= datetime.fromtimestamp(clock.utc_ns() / 1e9, timezone.utc) - captured < timedelta(minutes=1)


def test_json_is_what_stands_beside_the_picture(tmp_path: Path) -> None:
    (document,) = called("snap", "--source", PHANTOM, "-o", tmp_path / "a.png", "--json").documents
    assert document == json.loads((tmp_path / "a.json").read_text())
    assert (document["width"], document["height"], document["index"]) == (160, 96, 0)
    assert set(document["verdict"]) == {"accepted", "reason", "focus", "mean_level", "saturated_fraction"}


def test_the_source_may_come_from_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text('[source]\npart = "images"\npath = "one.png"\n')
    cv2.imwrite(str(tmp_path / "one.png"), np.full((40, 60, 3), 90, np.uint8))
    ended = called("snap", tmp_path / "bench.toml", "-o", tmp_path / "a.png", "--json")
    assert ended.documents[0]["source"]["path"] == str(tmp_path / "one.png")


def test_an_optics_file_of_the_settings_is_not_applied(tmp_path: Path) -> None:
    """It is of another size even: pictures to measure a new one are taken with the same settings."""
    (tmp_path / "optics.toml").write_text("size_px = [640, 480]\n[white]\nlevel = [100.0, 100.0, 100.0]\n")
    (tmp_path / "bench.toml").write_text('[source]\npart = "images"\npath = "one.png"\n[optics]\nfile = "optics.toml"\n')
    cv2.imwrite(str(tmp_path / "one.png"), np.full((40, 60, 3), 90, np.uint8))
    [told] = called("snap", tmp_path / "bench.toml", "-o", tmp_path / "a.png", "--json").documents
    assert told["verdict"]["mean_level"] == pytest.approx(90 / 255, abs=0.01)


def test_a_camera_s_first_frames_are_let_go(tmp_path: Path, fields: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImagesSource, "live", True)
    ended = called("snap", "--source", f"images:{fields}", "-o", tmp_path / "a.png")
    assert ended.code == 5
    assert "ended after 3 whole frames and 1 damaged ones. Fix: give a smaller --skip" in ended.err


def test_a_slow_source_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    ended = called("snap", "--source", f"{PHANTOM},fps=4", "--skip", 3, "--wait", 0.3, "-o", tmp_path / "a.png")
    assert ended.code == 5
    assert not (tmp_path / "a.png").exists()


def test_nothing_is_replaced_unless_it_is_said(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    for name in ("a.png", "a.json"):
        (tmp_path / name).write_text("mine")
        ended = called("snap", "--source", PHANTOM, "-o", out)
        assert ended.code == 2
        assert f"{tmp_path / name} exists already. Fix: choose another name, or --force" in ended.err
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    out.write_text("mine")
    assert called("snap", "--source", PHANTOM, "-o", out, "--force").code == 0
    assert cv2.imread(str(out)) is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.jpg", "a.jpg is no name of a PNG"), ("absent/a.png", "absent is no folder"), ("file/a.png", "file is no folder")],
)
def test_a_name_that_cannot_be_written_is_told_before_a_camera_is_opened(
    tmp_path: Path, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhantomSource, "__enter__", lambda _: pytest.fail("it was opened"))
    (tmp_path / "file").touch()
    ended = called("snap", "--source", PHANTOM, "-o", tmp_path / name)
    assert ended.code == 2
    assert said in ended.err


def test_a_full_disk_is_told_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", f"{path}.part")

    monkeypatch.setattr("edgecell.cli.snap.write_whole", full)
    ended = called("snap", "--source", PHANTOM, "-o", tmp_path / "a.png")
    assert ended.code == 2
    assert f"{tmp_path / 'a.png'}: cannot be written: No space left on device" in ended.err


def test_every_source_can_be_asked_for() -> None:
    assert called("snap", "--source", "nothing", "-o", "a.png").err.count(", ".join(sorted(sources.TABLE))) == 1
