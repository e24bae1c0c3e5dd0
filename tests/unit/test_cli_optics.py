"""`edgecell optics`: measured from pictures and from a camera, kept in one file, and refused with the reason."""

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import ENVIRONMENT, PATIENCE_S, called, finished
from numpy.typing import NDArray
from optics_pictures import clear_picture, ruled
from pictures import field

from edgecell.messages import NOTICE
from edgecell.optics.file import load

SIZE = (720, 540)
LEVEL = (230.0, 215.0, 190.0)


def write(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one camera: three places without cells, the lamp switched off, a micrometer's lines in both directions."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        write(folder / "empty" / f"{seed}.png", clear_picture(SIZE, seed, LEVEL))
    write(folder / "smaller.png", np.full((SIZE[1] // 2, SIZE[0] // 2, 3), 2, np.uint8))
    write(folder / "dark.png", np.random.default_rng(0).poisson(2.0, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
    for name, turn in (("upright", 1.0), ("level", 91.5)):
        write(folder / f"{name}.png", ruled((0.1, 0.1), turn))
    return folder


def test_a_microscope_is_measured_step_by_step_into_one_file(folder: Path, tmp_path: Path) -> None:
    file, empty = tmp_path / "optics.toml", folder / "empty"
    names = ("-f", file, "--camera", "bench 3", "--objective", "100x/1.25")
    steps = [
        called("optics", "exposure", empty, *names),
        called("optics", "flat", empty, "--dark", folder / "dark.png", "-f", file),
        called("optics", "white", empty, "-f", file, "--aim", "240"),
        called("optics", "scale", "--lines", "10", folder / "upright.png", folder / "level.png", "-f", file),
    ]
    assert [step.code for step in steps] == [0, 0, 0, 0], [step.err for step in steps]
    optics = load(file)
    assert (optics.camera, optics.objective, optics.size_px) == ("bench 3", "100x/1.25", SIZE)
    assert optics.exposure is not None
    assert optics.exposure.level == pytest.approx(LEVEL, rel=0.02)
    assert optics.flat is not None
    assert optics.flat.dark == pytest.approx((2, 2, 2), abs=0.1)
    assert optics.flat.frames == 3
    assert optics.white is not None
    assert optics.white.aim == 240
    assert optics.white.level == pytest.approx([level - 2 for level in LEVEL], rel=0.01)
    assert optics.scale is not None
    assert optics.scale.pixel_um == pytest.approx((0.1, 0.1), rel=1e-3)
    shown = called("optics", "show", file)
    assert "bench 3, 100x/1.25, frames of 720x540" in shown.out
    assert "um a pixel across" in shown.out
    assert f"focus: not measured: edgecell optics focus -f {file}" in shown.out
    whole = json.loads(called("optics", "show", file, "--json").out)
    assert whole["scale"]["how"] == "stage micrometer"
    assert whole["notice"] == NOTICE


def test_json_is_the_measured_table(folder: Path, tmp_path: Path) -> None:
    [told] = called("optics", "white", folder / "empty", "-f", tmp_path / "o.toml", "--json").documents
    assert (told["table"], told["file"], told["frames"], told["notice"]) == ("white", str(tmp_path / "o.toml"), 3, NOTICE)


def test_a_wrong_exposure_is_told_by_how_much_and_not_kept(folder: Path, tmp_path: Path) -> None:
    ended = called("optics", "exposure", folder / "empty", "--aim", "100", "130", "-f", tmp_path / "o.toml")
    assert ended.code == 5
    assert "its brightest channel not between 100 and 130" in ended.err
    assert "0.50 times" in ended.err or "0.51 times" in ended.err
    assert not (tmp_path / "o.toml").exists()


def test_pictures_of_another_size_are_another_camera_s(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "o.toml"
    assert called("optics", "white", folder / "empty", "-f", file).code == 0
    before = file.read_bytes()
    other = write(tmp_path / "small.png", clear_picture((320, 240), 1, LEVEL))
    ended = called("optics", "white", other, "-f", file)
    assert ended.code == 2
    assert "is of frames of 720x540, and these pictures have 320x240" in ended.err
    assert file.read_bytes() == before
    mixed = called("optics", "white", folder / "empty", other, "-f", tmp_path / "p.toml")
    assert mixed.code == 5
    assert "small.png: 320x240 px, and the picture before 720x540" in mixed.err


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("flat",), 2, "give either images, or a camera"),
        (("flat", "empty", "--source", "phantom"), 2, "give either images, or a camera"),
        (("flat", "empty", "--dark", "smaller.png"), 5, "smaller.png has another size than the other pictures"),
        (("scale", "empty"), 2, "--lines UM or --red-cells"),
        (("scale", "--lines", "10", "--frames", "3", "upright.png", "level.png"), 2, "--frames goes with --red-cells"),
        (("scale", "--lines", "10", "upright.png"), 5, "lines in one direction"),
        (("scale", "--lines", "10", "empty"), 5, "0.png"),
        (("scale", "--red-cells", "empty"), 5, "0 single red cells"),
        (("flat", "dark.png"), 5, "grey value of"),
        (("flat", "empty", "--dark", "empty/0.png"), 5, "the dark picture has a mean of"),
        (("flat", "empty", "--dark", "camera"), 2, "--dark camera needs --source"),
        (("focus", "empty"), 2, "has no [scale]"),
        (("white", "nowhere"), 5, "no such file"),
        (("white", "--source", "phantom:frames=0"), 5, "no picture came"),
        (("show", "nowhere.toml"), 2, "cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, named: str
) -> None:
    monkeypatch.chdir(folder)
    file = () if arguments[0] == "show" else ("-f", tmp_path / "o.toml")
    ended = called("optics", *arguments, *file)
    assert (ended.code, ended.out) == (code, "")
    assert named in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "o.toml").exists()


def test_a_flat_field_hardly_above_the_dark_level_is_refused(tmp_path: Path) -> None:
    dim = [write(tmp_path / f"{seed}.png", clear_picture(SIZE, seed, (30.0, 30.0, 30.0))) for seed in range(2)]
    dark = write(tmp_path / "dark.png", np.full((SIZE[1], SIZE[0], 3), 26, np.uint8))
    ended = called("optics", "flat", *dim, "--dark", dark, "-f", tmp_path / "o.toml")
    assert ended.code == 5
    assert "the background's red has values less than 5 above its dark level. Fix: switch the lamp on" in ended.err
    assert not (tmp_path / "o.toml").exists()


def test_a_white_that_the_flat_field_does_not_fit_is_refused(tmp_path: Path) -> None:
    """The lamp fell off by half when the flat field was measured, and does no more."""
    file = tmp_path / "o.toml"
    grid = "[[115.0, 115.0], [230.0, 230.0]]"
    file.write_text(f"size_px = [720, 540]\n[flat]\nred = {grid}\ngreen = {grid}\nblue = {grid}\n", encoding="utf-8")
    before = file.read_bytes()
    even = write(tmp_path / "even.png", np.full((SIZE[1], SIZE[0], 3), 230, np.uint8))
    ended = called("optics", "white", even, "-f", file)
    assert ended.code == 5
    assert "beyond 255. Fix: the lamp lies otherwise than it did for the flat field" in ended.err
    assert file.read_bytes() == before


def test_a_turn_through_focus_gives_its_range(tmp_path: Path) -> None:
    """Pictures of cells, blurred on purpose from 1.5 um to nothing and back."""
    image = field(0)
    for number, sigma_um in enumerate(np.abs(np.linspace(-1.5, 1.5, 15))):
        soft = cv2.GaussianBlur(image, (0, 0), max(0.01, sigma_um / 0.1)).astype(np.uint8)
        write(tmp_path / "turn" / f"{number:02}.png", soft)
    file = tmp_path / "o.toml"
    file.write_text('size_px = [640, 480]\n[scale]\nhow = "told"\npixel_um = [0.1, 0.1]\n')
    assert "0.1 um a pixel across, 0.1 down, as told" in called("optics", "show", file).out
    assert called("optics", "focus", tmp_path / "turn", "-f", file).code == 0
    focus = load(file).focus
    assert focus is not None
    assert 0.05 < focus.sharpest_um < 0.35
    assert focus.sharpest_um < focus.softest_um <= 0.5
    assert focus.frames == 15
    for name in ("00.png", "01.png", "02.png", "03.png", "04.png"):
        (tmp_path / "turn" / name).unlink()
    sharp = [write(tmp_path / "same" / f"{number}.png", image) for number in range(12)]
    assert "as sharp as each other" in called("optics", "focus", *sharp, "-f", file).err


def test_a_camera_gives_the_pictures(tmp_path: Path) -> None:
    """The phantom, whose pixels are 0.1 um."""
    source = ("--source", "phantom:width=640,height=480,frames=30,vignette=0.3", "-f", tmp_path / "o.toml", "--frames", "12")
    ended = [called("optics", what, *source) for what in ("flat", "white")]
    ended.append(called("optics", "scale", "--red-cells", *source))
    assert [each.code for each in ended] == [0, 0, 0], [each.err for each in ended]
    scale = load(tmp_path / "o.toml").scale
    assert scale is not None
    assert scale.pixel_um == pytest.approx((0.1, 0.1), rel=0.05)
    assert scale.pixel_um[0] == scale.pixel_um[1]


def test_on_a_terminal_it_asks_for_what_it_needs(tmp_path: Path) -> None:
    """As a process of its own on a terminal, whose user presses Enter."""
    arguments = ["optics", "white", "--source", "phantom:width=640,height=480", "--frames", "2", "-f", str(tmp_path / "o.toml")]
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "edgecell", *arguments]
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT) as process:
        os.close(theirs)
        try:
            asked = read(ours, b"Press Enter")
            assert b"Move to a place without cells" in asked
            assert not (tmp_path / "o.toml").exists()
            os.write(ours, b"\r")
            read(ours, b"[white]")
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            os.close(ours)
    assert load(tmp_path / "o.toml").white is not None


def read(terminal: int, awaited: bytes) -> bytes:
    """What appears on a terminal, up to what is awaited."""
    seen = b""
    while awaited not in seen:
        assert select.select([terminal], [], [], PATIENCE_S)[0], seen
        seen += os.read(terminal, 4096)
    return seen


def test_without_a_terminal_it_does_not_wait(tmp_path: Path) -> None:
    ended = finished("optics", "white", "--source", "phantom:width=320,height=240", "--frames", "2", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert "Press Enter" not in ended.err
