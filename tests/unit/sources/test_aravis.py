"""Industrial cameras, on the GigE camera that Aravis fakes: another program, which sends its packets over the loopback network.

That program, of 0.8.26, paints BayerRG8 and BayerBG8 each in the other's order, which are therefore only painted here.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import fake_gige
import msgspec
import numpy as np
import pytest
import system_gi
from fake_gige import SERIAL, FakeCamera

from edgecell import clock
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import Probe
from edgecell.runtime import backoff
from edgecell.runtime.camera import Camera
from edgecell.settings import decode_options, source_from_spec
from edgecell.sources.aravis import AravisOptions, AravisSource
from edgecell.sources.aravis.pixels import FORMATS, rgb

SMALL: dict[str, object] = {"width": 160, "height": 96, "pixel_format": "BayerGR8"}
PATIENCE_S = 60.0
COLOUR = {"R": 200, "G": 100, "B": 10}
PATTERNS = {"BayerRG8": "RGGB", "BayerGR8": "GRBG", "BayerGB8": "GBRG", "BayerBG8": "BGGR"}
"""Colours of a square of four pixels, line by line (GenICam's Pixel Format Naming Convention)."""


@pytest.fixture(scope="module")
def cable() -> Iterator[FakeCamera]:
    with fake_gige.attached() as camera:
        yield camera


@pytest.fixture
def fake(cable: FakeCamera, monkeypatch: pytest.MonkeyPatch) -> FakeCamera:
    fake_gige.look_once(monkeypatch)
    return cable


def source(**options: object) -> AravisSource:
    return AravisSource(msgspec.convert(SMALL | options, AravisOptions))


def read(opened: AravisSource) -> Frame:
    frame = opened.read(PATIENCE_S)
    assert frame is not None
    return frame


def until(condition: Callable[[], bool]) -> None:
    end = clock.monotonic_ns() + round(PATIENCE_S * 1e9)
    while not condition():
        assert clock.monotonic_ns() < end
        clock.sleep(0.005)


def waiting(opened: AravisSource) -> int:
    """Frames that nobody took yet."""
    return int(opened._stream.get_n_buffers()[1])


def test_the_word_is_the_serial_number() -> None:
    with pytest.raises(SettingsError, match="aravis"):
        decode_options(AravisSource, source_from_spec("aravis:exposure=3"))
    assert AravisSource(decode_options(AravisSource, source_from_spec("aravis:serial=EC01"))).source_id == "aravis:EC01"


def mosaic(name: str) -> bytes:
    """8x6 pixels of COLOUR."""
    image = np.zeros((6, 8), np.uint8)
    for place, colour in enumerate(PATTERNS[name]):
        image[place // 2 :: 2, place % 2 :: 2] = COLOUR[colour]
    return image.tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_red_green_blue(name: str) -> None:
    packed = {"RGB": bytes(COLOUR.values()), "BGR": bytes(COLOUR.values())[::-1], "Mon": b"\x55"}
    data = mosaic(name) if name in PATTERNS else packed[name[:3]] * 48
    image = rgb(data + b"chunk", name, 6, 8)
    assert image is not None
    assert image.shape == (6, 8, 3)
    assert not image.flags.writeable
    assert np.unique(image.reshape(-1, 3), axis=0).tolist() == [[0x55] * 3 if name == "Mono8" else list(COLOUR.values())]
    assert rgb(data[:-1], name, 6, 8) is None


@pytest.mark.parametrize("name", ["BayerGR8", "BayerGB8"])
def test_colours_are_those_that_the_camera_paints(fake: FakeCamera, name: str) -> None:
    """A slanted rainbow that goes on from frame to frame; RGB8 needs no colours made."""
    wide: dict[str, object] = {"width": 512, "height": 64, "fps": 50}
    with source(**wide, pixel_format="RGB8") as opened:
        painted = read(opened).image.astype(int)
    with source(**wide, pixel_format=name) as opened:
        image = read(opened).image.astype(int)
    shifts = (np.roll(painted, shift, axis=1) for shift in range(255))
    assert min(float(np.abs(each - image)[8:-8, 264:-8].mean()) for each in shifts) < 4


@pytest.mark.parametrize("name", FORMATS.keys() & {*PATTERNS, "RGB8", "Mono8"})
def test_every_format_of_the_camera_can_be_read(fake: FakeCamera, name: str) -> None:
    with source(pixel_format=name, fps=50) as opened:
        frames = [read(opened) for _ in range(2)]
    assert all(frame.image.shape == (96, 160, 3) for frame in frames)
    assert frames[0].image.std() > 20
    assert not np.array_equal(frames[0].image, frames[1].image)


def test_what_is_asked_for_is_set(fake: FakeCamera) -> None:
    with source(exposure_us=2500, gain=3, fps=80, width=320, height=200) as opened:
        frame, camera = read(opened), opened._camera
        assert (camera.get_exposure_time(), camera.get_gain(), camera.get_frame_rate()) == (
            2500,
            3,
            pytest.approx(80, rel=0.01),
        )
        assert tuple(camera.get_region()) == ((2048 - 320) // 2, (2048 - 200) // 2, 320, 200)
        assert frame.exposure_us == 2500
        assert frame.image.shape == (200, 320, 3)


def test_exposure_is_seen(fake: FakeCamera) -> None:
    levels = []
    for exposure_us in (10_000, 5_000):
        with source(pixel_format="Mono8", exposure_us=exposure_us, gain=0, width=255, height=255) as opened:
            levels.append(read(opened).image.mean())
    assert levels[1] < 0.8 * levels[0]


def test_left_alone_it_keeps_what_it_has_but_for_its_colours(fake: FakeCamera) -> None:
    with source(pixel_format="Mono8", exposure_us=1234) as opened:
        read(opened)
    with AravisSource(AravisOptions()) as opened:
        frame = read(opened)
        assert opened._camera.get_pixel_format_as_string() == "BayerRG8"
    assert frame.exposure_us == 1234
    assert frame.image.shape == (96, 160, 3)


@pytest.mark.parametrize(
    ("options", "said", "fix"),
    [
        ({"serial": "XY"}, "aravis:XY: no such camera", "use serial: EC01 .Aravis Fake."),
        ({"index": 1}, "aravis:1: no such camera", "use serial: EC01"),
        ({"width": 4096}, "does not take width = 4096", "give 1 to 2048"),
        ({"exposure_us": 5}, "does not take exposure_us = 5", "give 10 to 1e[+]07"),
        ({"gain": 11}, "does not take gain = 11", "give 0 to 10"),
        ({"fps": 0.05}, "does not take fps = 0.05", "give 0.1 to 1000"),
        ({"pixel_format": "Mono16"}, "has no pixel_format Mono16 that can be read", "set pixel_format to one of BayerRG8, "),
        ({"pixel_format": "BGR8"}, "has no pixel_format BGR8 that can be read", ", RGB8, Mono8$"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(fake: FakeCamera, options: dict[str, object], said: str, fix: str) -> None:
    with pytest.raises(SourceUnavailable, match=said) as caught, source(**options):
        pass
    assert re.search(fix, caught.value.fix)


def test_who_is_slow_gets_the_newest_and_the_others_are_gaps(fake: FakeCamera) -> None:
    with source(fps=100) as opened:
        first = read(opened).index
        until(lambda: waiting(opened) >= 4)
        frame = read(opened)
        assert frame.index >= first + 4
        assert clock.monotonic_ns() - frame.captured_ns < 1e9


def test_one_by_one_the_oldest_comes_first_with_the_time_of_its_arrival(fake: FakeCamera) -> None:
    with source(fps=50, latest=False) as opened:
        until(lambda: waiting(opened) >= 4)
        there_ns = clock.monotonic_ns()
        frames = [read(opened) for _ in range(4)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(times)
    assert times[0] < times[-1] <= there_ns  # of their arrival: none was read yet


def test_what_nobody_had_a_buffer_for_is_a_gap(fake: FakeCamera) -> None:
    with source(fps=100, latest=False, buffers=2) as opened:
        until(lambda: opened._stream.get_info_uint64_by_name("n_underruns") >= 60)  # packets, 13 or 14 a frame
        indices = [read(opened).index for _ in range(3)]
    assert indices[:2] == [0, 1]
    assert indices[2] >= 5


def test_no_frame_in_time(fake: FakeCamera) -> None:
    with source(fps=0.5) as opened:
        read(opened)
        with pytest.raises(FrameTimeout, match=r"no frame within 0.01 s"):
            opened.read(0.01)


def test_a_camera_that_another_program_uses(fake: FakeCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    with source() as opened:
        with pytest.raises(SourceUnavailable, match="another program uses the camera"), source():
            pass
        assert read(opened).index == 0
    monkeypatch.setattr(importlib.import_module("edgecell.sources.aravis.asked"), "in_use", lambda camera: True)
    assert AravisSource.attached()[0].lacks == "another program uses it: close that"


def test_attached_tells_what_it_can(fake: FakeCamera) -> None:
    (camera,) = AravisSource.attached()
    assert (camera.name, camera.options, camera.lacks) == ("Aravis Fake", {"serial": SERIAL}, "")
    assert {mode.pixel_format for mode in camera.modes if not mode.usable} == {"Mono16"}
    assert {(mode.width, mode.height, mode.up_to) for mode in camera.modes} == {(2048, 2048, True)}
    limits = {control.name: (control.minimum, control.maximum) for control in camera.controls}
    assert limits == {"exposure_us": (10, 1e7), "gain": (0, 10), "fps": (0.1, 1000)}


def test_missing_packets_are_damage_and_every_number_is_accounted_for(fake: FakeCamera) -> None:
    fake.stop()
    fake.start(lost_per_thousand=10)
    whole: list[int] = []
    damaged: list[FrameCorrupt] = []

    def next_one(opened: AravisSource) -> None:
        try:
            whole.append(read(opened).index)
        except FrameCorrupt as error:
            damaged.append(error)

    try:
        with source(fps=100, latest=False, pixel_format="RGB8") as opened:
            while len(whole) < 5 or len(damaged) < 5:
                next_one(opened)
            failures = opened._stream.get_info_uint64_by_name("n_failures")
    finally:
        fake.stop()
        fake.start()
    assert all("missing-packets" in error.what or "timeout" in error.what for error in damaged)
    indices = sorted([*whole, *(error.index for error in damaged)])
    assert indices[0] == 0
    assert len(set(indices)) == len(indices)
    assert len(damaged) <= failures


def test_unplugged_and_back(fake: FakeCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run sees it: time-outs while the camera is away, then its frames, numbered on. Aravis takes 5 s to miss it."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.02)
    with Camera(source(fps=50, latest=False)) as run:
        assert [run.read(PATIENCE_S).index for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
        fake.stop()
        last = 1
        while "camera" not in run.troubles:
            with suppress(FrameTimeout, FrameCorrupt):
                frame = run.read(0.5)
                assert frame is not None
                last = frame.index
        assert run.troubles["camera"].text.startswith("aravis:0: the camera is gone")
        fake.start()
        found: Frame | None = None
        while found is None:
            with suppress(FrameTimeout, FrameCorrupt):
                found = run.read(0.5)
        assert found.index > last
        assert run.troubles == {}


def test_reading_what_is_not_open() -> None:
    with pytest.raises(SourceUnavailable, match="is not open"):
        source().read(0.1)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingDependency) as caught, source():
        pass
    assert "apt install python3-gi gir1.2-aravis-0.8" in caught.value.fix
    assert AravisSource.attached() == ()
    probe = AravisSource.probe()
    assert not probe.usable
    assert "--system-site-packages" in probe.missing


def test_without_a_camera_it_says_how_to_connect_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = system_gi.aravis()
    monkeypatch.setattr(module, "update_device_list", lambda: None)
    monkeypatch.setattr(module, "get_n_devices", lambda: 0)
    assert AravisSource.probe() == Probe(usable=True, version="Aravis 0.8")
    assert AravisSource.attached() == []
    with pytest.raises(SourceUnavailable, match="aravis:0: no such camera") as caught, source():
        pass
    assert "arv-tool-0.8" in caught.value.fix
