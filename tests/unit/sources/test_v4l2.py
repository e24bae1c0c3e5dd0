"""Cameras under Linux: what is asked of the kernel, what comes back, and what is said when it does not."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from v4l2_stand_in import SIZES, STRIPES, Camera, number_of

from edgecell import clock
from edgecell.cameras import Mode
from edgecell.errors import FrameCorrupt, FrameTimeout, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.settings import decode_options, source_from_spec
from edgecell.sources import v4l2
from edgecell.sources.v4l2 import V4l2Options, V4l2Source, controls, kernel
from edgecell.sources.v4l2.asked import choice
from edgecell.sources.v4l2.pixels import FORMATS

WITH_CONTROLS = {
    kernel.EXPOSURE_AUTO: (0, 3, 3),
    kernel.EXPOSURE_ABSOLUTE: (1, 5000, 156),
    kernel.AUTO_WHITE_BALANCE: (0, 1, 0),
    kernel.WHITE_BALANCE_TEMPERATURE: (2800, 6500, 4600),
    kernel.AUTOGAIN: (0, 1, 1),
    kernel.GAIN: (0, 100, 4),
}
HEADER = "linux/videodev2.h"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /dev, with two nodes."""
    monkeypatch.setattr(v4l2, "DEV", tmp_path)
    for number in (0, 2):
        (tmp_path / f"video{number}").touch()
    return tmp_path


def source_of(camera: Camera, **options: object) -> V4l2Source:
    return V4l2Source(V4l2Options(**{"width": 160, "height": 96, **options}), camera)  # type: ignore[arg-type]


def taken(source: V4l2Source, timeout_s: float = 1.0) -> Frame:
    frame = source.read(timeout_s)
    assert frame is not None
    return frame


@pytest.mark.skipif(not shutil.which("gcc") or not Path(f"/usr/include/{HEADER}").exists(), reason="needs gcc and the header")
def test_calls_have_the_numbers_of_the_kernel_s_own_header(tmp_path: Path) -> None:
    names = [name for name in dir(kernel) if name.isupper() and isinstance(getattr(kernel, name), int)]
    prefixes = ("V4L2_CID_", "V4L2_CAP_", "VIDIOC_", "V4L2_", "V4L2_CTRL_FLAG_", "V4L2_BUF_FLAG_", "V4L2_FRMSIZE_TYPE_")
    header = Path(f"/usr/include/{HEADER}").read_text() + Path("/usr/include/linux/v4l2-controls.h").read_text()
    own = {"CTRL_DISABLED": "V4L2_CTRL_FLAG_DISABLED", "CTRL_READ_ONLY": "V4L2_CTRL_FLAG_READ_ONLY"}
    own |= {"CTRL_INACTIVE": "V4L2_CTRL_FLAG_INACTIVE", "FRMSIZE_DISCRETE": "V4L2_FRMSIZE_TYPE_DISCRETE"}
    own |= {"TIMESTAMP_MASK": "V4L2_BUF_FLAG_TIMESTAMP_MASK", "TIMESTAMP_MONOTONIC": "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC"}
    lines = []
    for name in names:
        theirs = own.get(name) or next(each + name for each in prefixes if f"{each}{name}" in header)
        lines.append(f'printf("{name} %lu\\n", (unsigned long){theirs});')
    fields = ("sequence", "m.offset", "length", "timestamp")
    lines += [f'printf("{field} %zu\\n", offsetof(struct v4l2_buffer, {field}));' for field in fields]
    program = f"#include <stdio.h>\n#include <stddef.h>\n#include <{HEADER}>\nint main() {{ {' '.join(lines)} }}\n"
    (tmp_path / "numbers.c").write_text(program)
    subprocess.run(["gcc", "-o", "numbers", "numbers.c"], cwd=tmp_path, check=True)
    told = subprocess.run(["./numbers"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    theirs_by_name = dict(zip(told[::2], map(int, told[1::2]), strict=True))
    buffer = kernel.Buffer
    offsets = {"sequence": buffer.sequence, "m.offset": buffer.offset, "length": buffer.length, "timestamp": buffer.seconds}
    ours = {name: getattr(kernel, name) for name in names} | {name: each.offset for name, each in offsets.items()}
    assert theirs_by_name == ours
    assert len(names) >= 30


@pytest.mark.parametrize(("spec", "path"), [("v4l2:2", "video2"), ("v4l2:device=0,width=640,height=480", "video0")])
def test_a_number_is_a_node(dev: Path, spec: str, path: str) -> None:
    source = V4l2Source(decode_options(V4l2Source, source_from_spec(spec)))
    assert source.source_id == f"v4l2:{dev / path}"


def test_a_path_is_taken_as_it_is() -> None:
    source = V4l2Source(decode_options(V4l2Source, source_from_spec("v4l2:/dev/v4l/by-id/usb-scope-video-index0")))
    assert source.source_id == "v4l2:/dev/v4l/by-id/usb-scope-video-index0"


def test_the_camera_is_asked_for_format_size_rate_and_buffers(dev: Path) -> None:
    camera = Camera()
    with source_of(camera, device=2, fourcc="YUYV", fps=29.97, buffers=5):
        assert (camera.fourcc, camera.size, camera.rate) == ("YUYV", (160, 96), (1000, 29970))
        assert len(camera.memory) == 5
        assert (camera.opened, camera.streaming) == (1, 1)
    assert (camera.opened, camera.streaming) == (0, 0)


def test_the_fewest_buffers_are_the_driver_s() -> None:
    with pytest.raises(SettingsError, match="buffers"):
        decode_options(V4l2Source, source_from_spec("v4l2:device=0,buffers=1"))


@pytest.mark.parametrize("padding", [0, 64])
@pytest.mark.parametrize("fourcc", FORMATS)
def test_pictures_are_red_green_blue(dev: Path, fourcc: str, padding: int) -> None:
    camera = Camera(modes={fourcc: SIZES}, padding=padding)
    with source_of(camera, fourcc=fourcc) as source:
        frame = taken(source)
    assert frame.image.shape == (96, 160, 3)
    assert frame.image.flags.owndata
    assert not any(np.shares_memory(frame.image, each) for each in camera.memory)
    seen = frame.image[64, 20::40].astype(int)
    assert np.abs(seen - STRIPES).max() <= (0 if fourcc in ("RGB3", "BGR3") else 3)
    assert number_of(frame.image) == 1


def test_left_alone_the_camera_chooses(dev: Path) -> None:
    camera = Camera(controls=WITH_CONTROLS)
    with source_of(camera) as source:
        frame = taken(source)
    assert camera.controls[kernel.EXPOSURE_AUTO][2] == controls.APERTURE_PRIORITY
    assert camera.controls[kernel.AUTO_WHITE_BALANCE][2] == 1
    assert (camera.controls[kernel.GAIN][2], camera.controls[kernel.AUTOGAIN][2]) == (4, 1)
    assert frame.exposure_us is None


def test_a_camera_that_chooses_all_by_itself(dev: Path) -> None:
    camera = Camera(controls={kernel.EXPOSURE_AUTO: (0, 2, 1)})
    with source_of(camera):
        assert camera.controls[kernel.EXPOSURE_AUTO][2] == 1, "it takes neither, and keeps what it had"


def test_fixed_exposure_gain_and_white_balance(dev: Path) -> None:
    camera = Camera(controls=WITH_CONTROLS)
    with source_of(camera, exposure_us=2040, gain=12, white_balance_k=5000) as source:
        frame = taken(source)
    now = {control: held[2] for control, held in camera.controls.items()}
    assert now == {
        kernel.EXPOSURE_AUTO: controls.MANUAL,
        kernel.EXPOSURE_ABSOLUTE: 20,
        kernel.AUTO_WHITE_BALANCE: 0,
        kernel.WHITE_BALANCE_TEMPERATURE: 5000,
        kernel.AUTOGAIN: 0,
        kernel.GAIN: 12,
    }
    assert frame.exposure_us == 2000


@pytest.mark.parametrize(
    ("options", "lacking", "said", "fix"),
    [
        ({"exposure_us": 1_000_000}, None, "does not take exposure_us = 1e+06, it stays at 15600", "give 100 to 500000, "),
        ({"gain": 250}, None, "does not take gain = 250, it stays at 4", "give 0 to 100, or leave gain out"),
        ({"gain": 3}, kernel.GAIN, "does not take gain = 3: it has no such control", "leave gain out"),
        ({"white_balance_k": 2000}, None, "does not take white_balance_k = 2000, it stays at 4600", "give 2800 to 6500"),
    ],
)
def test_a_control_that_the_camera_does_not_take(
    dev: Path, options: dict[str, object], lacking: int | None, said: str, fix: str
) -> None:
    camera = Camera(controls={control: held for control, held in WITH_CONTROLS.items() if control != lacking})
    with pytest.raises(SourceUnavailable) as caught, source_of(camera, **options):
        pass
    assert said in caught.value.what
    assert fix in caught.value.fix
    assert camera.opened == 0


@pytest.mark.parametrize(
    ("options", "modes", "said"),
    [
        (
            {"width": 1920, "height": 1080},
            {"MJPG": SIZES, "YUYV": SIZES[1:], "RG10": SIZES, "NV12": SIZES[1:]},
            "has no MJPG 1920x1080. It has MJPG: 1280x720, 640x480, 160x96; YUYV, NV12: 640x480, 160x96",
        ),
        ({}, {"YUYV": SIZES[1:2]}, "has no MJPG 160x96. It has YUYV: 640x480"),
        ({}, {"RG10": SIZES}, "has no MJPG 160x96. It has no mode that this source can read"),
    ],
)
def test_a_mode_that_it_has_not_is_refused_with_those_that_it_has(
    dev: Path, options: dict[str, object], modes: dict[str, tuple[tuple[int, int], ...]], said: str
) -> None:
    camera = Camera(modes=modes)
    with pytest.raises(SourceUnavailable) as caught, source_of(camera, **options):
        pass
    assert caught.value.what == f"{dev}/video0: {said}"
    assert (camera.opened, camera.streaming) == (0, 0)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ({kernel.S_FMT: errno.EBUSY}, "is in use. Fix: close the program that uses it"),
        ({kernel.REQBUFS: errno.EBUSY}, "is in use. Fix: close the program that uses it"),
        ({kernel.QUERYCAP: errno.ENOTTY}, "cannot be opened as a camera: told to fail"),
        ({kernel.STREAMON: errno.EIO}, "opened, but gives no picture: told to fail"),
        ({kernel.STREAMON: errno.ENOSPC}, "needs more than its USB bus can carry. Fix: use fourcc = MJPG"),
    ],
)
def test_an_opening_that_fails_says_why_and_leaves_nothing_open(dev: Path, fails: dict[int, int], said: str) -> None:
    camera = Camera(fails=fails)
    with pytest.raises(SourceUnavailable) as caught, source_of(camera):
        pass
    assert said in str(caught.value)
    assert camera.opened == 0


@pytest.mark.parametrize(
    ("capabilities", "said"),
    [
        (0x00A00000 | kernel.STREAMING, "gives no pictures; some cameras have a second node"),
        (kernel.VIDEO_M2M | kernel.VIDEO_CAPTURE, "gives no pictures"),
        (kernel.VIDEO_CAPTURE_MPLANE | kernel.STREAMING, "in several planes"),
        (kernel.VIDEO_CAPTURE, "does not stream"),
    ],
)
def test_a_node_that_gives_no_pictures_as_we_take_them(dev: Path, capabilities: int, said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said), source_of(Camera(capabilities=capabilities)):
        pass


@pytest.mark.parametrize("faults", [{0: "none"}, dict.fromkeys(range(9), "damaged"), dict.fromkeys(range(9), "short")])
def test_a_camera_that_opens_and_gives_nothing(dev: Path, faults: dict[int, str | int]) -> None:
    camera = Camera(faults=faults)
    with pytest.raises(SourceUnavailable, match="gives no picture") as caught, source_of(camera):
        pass
    assert caught.value.__traceback__
    assert (camera.opened, camera.mapped_now) == (0, 0)


def test_half_a_picture_at_the_beginning_is_no_fault(dev: Path) -> None:
    with source_of(Camera(faults={0: "short", 1: "damaged"})) as source:
        frame = taken(source)
    assert (frame.index, number_of(frame.image)) == (0, 3)


def test_the_time_of_capture_is_the_driver_s(dev: Path) -> None:
    with source_of(Camera(age_ns=lambda sequence: 40_000_000)) as source:
        before = clock.monotonic_ns()
        frame = taken(source)
        after = clock.monotonic_ns()
    assert before - 41_000_000 <= frame.captured_ns <= after - 40_000_000


@pytest.mark.parametrize(("clocked", "age_ns"), [(False, 0), (True, 3_600_000_000_000), (True, -3_600_000_000_000)])
def test_a_time_of_another_clock_is_replaced_by_ours(dev: Path, clocked: bool, age_ns: int) -> None:
    with source_of(Camera(clocked=clocked, age_ns=lambda sequence: age_ns)) as source:
        before = clock.monotonic_ns()
        frame = taken(source)
        assert before <= frame.captured_ns <= clock.monotonic_ns()


def test_what_the_driver_lost_is_a_gap(dev: Path) -> None:
    with source_of(Camera(faults={3: "lost", 4: "lost"})) as source:
        frames = [taken(source) for _ in range(4)]
    assert [frame.index for frame in frames] == [0, 1, 4, 5]
    assert [number_of(frame.image) for frame in frames] == [1, 2, 5, 6]


def test_the_driver_s_numbers_may_wrap_around(dev: Path) -> None:
    with source_of(Camera(first_sequence=2**32 - 2, faults={2**32: "lost"})) as source:
        assert [taken(source).index for _ in range(3)] == [0, 2, 3]


def test_a_driver_that_does_not_count(dev: Path) -> None:
    camera = Camera()
    with source_of(camera) as source:
        for index in range(3):
            camera.sequence = 7
            assert taken(source).index == index


def test_nothing_in_time_is_a_time_out_and_no_frame(dev: Path) -> None:
    camera = Camera(faults={1: "none"})
    with source_of(camera) as source:
        camera.waited_s.clear()
        with pytest.raises(FrameTimeout, match=r"no frame within 0\.25 s"):
            source.read(0.25)
        assert camera.waited_s == [pytest.approx(0.25, abs=0.02)]
        assert taken(source).index == 0


@pytest.mark.parametrize(("fps", "number"), [(30, 4), (1, 2)])
def test_what_waited_longer_than_a_period_is_let_go_and_counted(dev: Path, fps: float, number: int) -> None:
    ages_s = {0: 0.0, 1: 1.9, 2: 0.9, 3: 0.5, 4: 0.01}
    with source_of(Camera(age_ns=lambda sequence: round(ages_s[sequence] * 1e9)), fps=fps) as source:
        frame = taken(source, 2)
    assert (number_of(frame.image), frame.index) == (number, number - 1)


def test_without_the_driver_s_time_a_pause_makes_frames_old(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = clock.monotonic_ns()
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now_ns)
    with source_of(Camera(clocked=False), buffers=3) as source:
        assert number_of(taken(source).image) == 1
        now_ns += 1_000_000_000
        frame = taken(source)
    assert (number_of(frame.image), frame.index) == (5, 4)


def test_a_camera_whose_frames_always_seem_old_is_read_all_the_same(dev: Path) -> None:
    with source_of(Camera(age_ns=lambda sequence: 2_000_000_000), buffers=3) as source:
        assert number_of(taken(source).image) == 4


@pytest.mark.parametrize(("fourcc", "fault"), [("MJPG", "damaged"), ("MJPG", "short"), ("YUYV", "damaged"), ("YUYV", "short")])
def test_a_damaged_picture_takes_its_number(dev: Path, fourcc: str, fault: str) -> None:
    camera = Camera(faults={1: fault})
    with source_of(camera, fourcc=fourcc) as source:
        with pytest.raises(FrameCorrupt) as caught:
            source.read(1)
        assert len(camera.queued) == 4, "its buffer goes back"
        frame = taken(source)
        assert camera.mapped_now == 4
    assert (caught.value.index, frame.index) == (0, 1)
    assert camera.mapped_now == 0, "an error that is kept must not keep the driver's memory"


@pytest.mark.parametrize("why", [errno.ENODEV, errno.EIO])
def test_a_camera_that_goes(dev: Path, why: int) -> None:
    camera = Camera(faults={2: why})
    with source_of(camera) as source:
        taken(source)
        camera.fails = {kernel.STREAMOFF: why}
        with pytest.raises(SourceUnavailable, match="the camera is gone") as caught:
            source.read(1)
    assert caught.value.fix == "plug it in again: a run goes on by itself"
    assert camera.opened == 0


def test_a_node_that_vanishes_without_a_word(dev: Path) -> None:
    with source_of(Camera(faults={1: "none"})) as source:
        (dev / "video0").unlink()
        with pytest.raises(SourceUnavailable, match="the camera is gone"):
            source.read(0.1)


def test_a_closed_source_says_so(dev: Path) -> None:
    source = source_of(Camera())
    with source:
        pass
    with pytest.raises(SourceUnavailable, match="is not open"):
        source.read(1)


def test_no_such_camera_names_those_that_are_there(dev: Path) -> None:
    with pytest.raises(SourceUnavailable, match="no such camera") as caught, V4l2Source(V4l2Options(device=99)):
        pass
    assert caught.value.fix == f"use one of {dev}/video0, {dev}/video2"


def test_the_real_kernel_refuses_a_node_that_is_no_camera(dev: Path) -> None:
    with pytest.raises(SourceUnavailable, match="cannot be opened as a camera: Inappropriate ioctl"), V4l2Source(V4l2Options()):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every node")
def test_no_permission(dev: Path) -> None:
    (dev / "video0").chmod(0)
    with pytest.raises(SourceUnavailable, match="no permission") as caught, V4l2Source(V4l2Options(device=0)):
        pass
    assert "usermod -aG video" in caught.value.fix


def test_probe_names_what_is_missing(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert V4l2Source.probe().usable
    monkeypatch.setattr(v4l2, "_may_use", lambda node: node.name == "video0")
    some = V4l2Source.probe()
    assert (some.usable, some.missing) == (True, f"no permission for {dev}/video2: {v4l2.GROUP_FIX}")
    monkeypatch.setattr(v4l2, "_may_use", lambda node: False)
    assert not V4l2Source.probe().usable
    for node in dev.iterdir():
        node.unlink()
    assert V4l2Source.probe().missing == "no /dev/video*: connect a camera"


def test_attached_tells_what_each_camera_can_do(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dev / "v4l/by-id").mkdir(parents=True)
    (dev / "v4l/by-id/usb-Stand-in-index0").symlink_to(dev / "video2")
    camera = Camera(controls=WITH_CONTROLS)
    monkeypatch.setattr(v4l2, "Linux", lambda: camera)
    first, second = V4l2Source.attached()
    assert first.options["device"] == f"{dev}/video0"
    assert second.name == "Stand-in camera"
    assert second.where == f"{dev}/video2, usb-0000:00:14.0-1"
    stable = f"{dev}/v4l/by-id/usb-Stand-in-index0"
    assert second.options == {"device": stable, "fourcc": "YUYV", "width": 1280, "height": 720, "fps": 30.0}
    assert [(mode.pixel_format, mode.width, mode.usable) for mode in second.modes[::3]] == [
        ("MJPG", 1280, True),
        ("YUYV", 1280, True),
        ("RG10", 1280, False),
    ]
    assert second.modes[0].fps == (30.0, 29.97, 15.0)
    assert [(each.name, each.minimum, each.maximum, each.now) for each in second.controls] == [
        ("exposure_us", 100, 500_000, 15_600),
        ("gain", 0, 100, 4),
        ("white_balance_k", 2800, 6500, 4600),
    ]
    assert camera.opened == camera.streaming == 0


@pytest.mark.parametrize(
    ("camera", "lacks"),
    [
        (Camera(modes={"RG10": SIZES}), "it gives RG10, which this source cannot read"),
        (Camera(capabilities=kernel.VIDEO_CAPTURE_MPLANE | kernel.STREAMING), "in several planes"),
        (Camera(fails={kernel.ENUM_FMT: errno.EIO}), "cannot be asked: told to fail"),
    ],
)
def test_attached_says_why_a_camera_cannot_be_used(
    dev: Path, monkeypatch: pytest.MonkeyPatch, camera: Camera, lacks: str
) -> None:
    monkeypatch.setattr(v4l2, "Linux", lambda: camera)
    assert [lacks in each.lacks for each in V4l2Source.attached()] == [True, True]


def test_attached_leaves_out_nodes_without_pictures(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v4l2, "Linux", lambda: Camera(capabilities=0x00A00000))
    assert not V4l2Source.attached()
    monkeypatch.setattr(v4l2, "_may_use", lambda node: False)
    assert [each.lacks for each in V4l2Source.attached()] == [f"no permission: {v4l2.GROUP_FIX}"] * 2


def test_of_modes_the_largest_that_comes_often_enough_is_proposed() -> None:
    def mode(fourcc: str, width: int, *fps: float, usable: bool = True) -> Mode:
        return Mode(pixel_format=fourcc, width=width, height=100, fps=fps, usable=usable)

    slow, quick, tie = mode("YUYV", 1920, 5), mode("MJPG", 1920, 30), mode("YUYV", 1280, 10)
    assert choice([slow, quick, tie, mode("RG10", 4000, 30, usable=False)]) == quick
    assert choice([tie, mode("MJPG", 1280, 30)]) == tie
    assert choice([slow]) == slow
    assert choice([]) is None
