"""Cameras of a Raspberry Pi: what is asked of picamera2, what comes back, and what is said when it does not.

Names and arguments of the stand-in are compared with picamera2's sources, fetched by their pinned hash; none of it is run.
"""

import ast
import inspect
import sys
import types
import zipfile
from functools import cache
from pathlib import Path

import picamera2_stand_in
import pytest
import vendor_wheels
from picamera2_stand_in import FRAME_NS, Picamera2

from edgecell import clock
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.settings import decode_options, source_from_spec
from edgecell.sources.raspberry import PicameraOptions, PicameraSource
from edgecell.sources.raspberry.library import Camera, Request

ROOT = Path(__file__).parents[3]
FILES = {"Picamera2": "picamera2/picamera2.py", "CompletedRequest": "picamera2/request.py", "Job": "picamera2/job.py"}
SMALL: dict[str, object] = {"width": 160, "height": 96}


def opened(camera: Picamera2, **options: object) -> PicameraSource:
    return PicameraSource(PicameraOptions(**(SMALL | options)), lambda number: camera)  # type: ignore[arg-type]


def read(source: PicameraSource) -> Frame:
    frame = source.read(1.0)
    assert frame is not None
    return frame


def test_the_number_is_the_camera() -> None:
    source = PicameraSource(decode_options(PicameraSource, source_from_spec("picamera2:1")))
    assert source.source_id == "picamera2:1"


def test_format_size_rate_buffers_and_one_frame_kept() -> None:
    camera = Picamera2()
    with opened(camera, frame_duration_us=20_000, buffers=4):
        asked = camera.camera_config
    assert asked["main"] == {"format": "BGR888", "size": (160, 96)}
    assert asked["controls"] == {"FrameDurationLimits": (20_000, 20_000)}
    assert (asked["buffer_count"], asked["queue"], asked["display"]) == (4, True, None)
    assert camera.closed


def test_pictures_are_red_green_blue_in_memory() -> None:
    with opened(Picamera2()) as source:
        image = read(source).image
    assert image.shape == (96, 160, 3)
    assert {tuple(pixel) for pixel in image[0].tolist()} == {(200, 200, 200), (255, 40, 0)}


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        (Picamera2(format_="RGB888"), "has no BGR888 160x96, it offers RGB888 160x96 instead"),
        (Picamera2(format_="XBGR8888"), "has no BGR888 160x96, it offers XBGR8888 160x96 instead"),
        (Picamera2(sizes=[(640, 480)]), "has no BGR888 160x96, it offers BGR888 640x480 instead"),
    ],
)
def test_another_order_of_colours_or_size_is_refused(camera: Picamera2, said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said), opened(camera):
        pass
    assert camera.closed


def test_fixed_exposure_gain_and_colour_gains() -> None:
    camera = Picamera2()
    with opened(camera, exposure_us=2000, gain=2.5, colour_gains=(1.9, 1.3)) as source:
        frame = read(source)
    controls = camera.camera_config["controls"]
    assert (controls["ExposureTime"], controls["AnalogueGain"]) == (2000, 2.5)
    assert (controls["AwbEnable"], controls["ColourGains"]) == (False, (1.9, 1.3))
    assert frame.exposure_us == 2000


def test_left_alone_the_camera_chooses_and_frames_say_what() -> None:
    camera = Picamera2()
    with opened(camera) as source:
        assert read(source).exposure_us == 9_980
    assert camera.camera_config["controls"].keys() == {"FrameDurationLimits"}


def test_controls_may_take_some_frames_and_those_are_not_given() -> None:
    with opened(Picamera2(late=4), exposure_us=2000) as source:
        frame = read(source)
    assert (frame.index, frame.exposure_us) == (0, 2000)
    assert int((frame.image[0] != 200).any(axis=1).argmax()) == 5 * 4


@pytest.mark.parametrize(
    ("options", "told", "said"),
    [
        ({"exposure_us": 50_000}, {"ExposureTime": 33_000}, "exposure_us = 50000, it stays at 33000"),
        ({"gain": 40}, {"AnalogueGain": 16.0}, "gain = 40, it stays at 16.0"),
        ({"colour_gains": (3.0, 1.3)}, {"ColourGains": (1.7, 1.3)}, r"colour_gains = \(3.0, 1.3\), it stays at \(1.7, 1.3\)"),
        ({"frame_duration_us": 5_000}, {"FrameDuration": 16_667}, "frame_duration_us = 5000, it stays at 16667"),
    ],
)
def test_what_the_sensor_does_not_take(options: dict[str, object], told: dict[str, object], said: str) -> None:
    camera = Picamera2(told_as=told)
    with pytest.raises(SourceUnavailable, match=f"does not take {said}"), opened(camera, **options):
        pass
    assert camera.closed


def test_rounding_to_whole_lines_is_no_refusal() -> None:
    with opened(Picamera2(told_as={"ExposureTime": 58}), exposure_us=100) as source:
        assert read(source).exposure_us == 58


def test_a_camera_without_such_a_control() -> None:
    camera = Picamera2(lacking=["ColourGains"])
    with pytest.raises(SourceUnavailable, match="the camera has no ColourGains"), opened(camera, colour_gains=(1, 1)):
        pass
    assert camera.closed


@pytest.mark.parametrize("option", ["width=161", "buffers=1", "frame_duration_us=10", "gain=0", "exposure=3"])
def test_settings_that_no_camera_takes(option: str) -> None:
    with pytest.raises(SettingsError, match=option.partition("=")[0]):
        decode_options(PicameraSource, source_from_spec(f"picamera2:{option}"))


def test_times_are_the_sensor_s() -> None:
    with opened(Picamera2()) as source:
        first, second = read(source), read(source)
    assert second.captured_ns - first.captured_ns == FRAME_NS
    assert first.captured_ns < clock.monotonic_ns() - 5_000_000_000


@pytest.mark.parametrize("camera", [Picamera2(ahead_ns=10**15), Picamera2(told_as={"SensorTimestamp": None})])
def test_another_clock_or_none_makes_it_the_time_of_reading(camera: Picamera2) -> None:
    with opened(camera) as source:
        start = clock.monotonic_ns()
        frames = [read(source), read(source)]
    assert start <= frames[0].captured_ns <= frames[1].captured_ns <= clock.monotonic_ns()
    assert [frame.index for frame in frames] == [0, 1]


def test_frames_that_were_lost_are_gaps() -> None:
    with opened(Picamera2(skips={3: 2, 5: 1})) as source:  # frame 0 is looked at when it is opened
        assert [read(source).index for _ in range(6)] == [0, 1, 4, 5, 7, 8]


def test_no_frame_in_time_and_the_next_read_waits_for_the_same_one() -> None:
    camera = Picamera2(silent=[2])
    with opened(camera) as source:
        assert read(source).index == 0
        with pytest.raises(FrameTimeout, match=r"no frame within 0.5 s"):
            source.read(0.5)
        assert read(source).index == 1
        assert (camera.cancelled, camera.most_held) == (0, 1)


def test_closing_while_a_request_is_on_its_way_takes_it_back() -> None:
    camera = Picamera2(silent=[1])
    with opened(camera) as source, pytest.raises(FrameTimeout):
        source.read(0.1)
    assert camera.cancelled == 1
    assert camera.closed


def test_a_camera_that_is_silent_for_long_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Picamera2(silent=[1, 1])
    with opened(camera) as source:
        now = clock.monotonic_ns()
        with pytest.raises(FrameTimeout):
            source.read(0.1)
        monkeypatch.setattr(clock, "monotonic_ns", lambda: now + 6_000_000_000)
        with pytest.raises(SourceUnavailable, match="gave no frame for 6 s"):
            source.read(0.1)


def test_a_camera_that_fails_is_gone() -> None:
    with opened(Picamera2(failing=[2])) as source:
        read(source)
        with pytest.raises(SourceUnavailable, match="the camera is gone: Failed to queue request"):
            source.read(1.0)


def test_a_camera_that_does_not_stop_is_let_be(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Picamera2()

    def stuck() -> None:
        raise RuntimeError("Failed to release camera")

    with opened(camera) as source:
        read(source)
        monkeypatch.setattr(camera, "close", stuck)
    assert "picamera2:0: cannot be closed: Failed to release camera" in caplog.text
    with pytest.raises(SourceUnavailable, match="is not open"):
        source.read(0.1)


def test_a_frame_that_lacks_a_line_is_damaged_and_takes_its_index() -> None:
    with opened(Picamera2(short=[2])) as source:
        assert read(source).index == 0
        with pytest.raises(FrameCorrupt) as caught:
            source.read(1.0)
        assert caught.value.index == 1
        assert read(source).index == 2


def test_opened_but_without_pictures() -> None:
    camera = Picamera2(silent=[0])
    with pytest.raises(SourceUnavailable, match="opened, but gives no picture"), opened(camera):
        pass
    assert (camera.cancelled, camera.closed) == (1, True)


def test_no_such_camera_says_what_libcamera_said_first() -> None:
    def make(number: int) -> Picamera2:
        raise RuntimeError("Camera __init__ sequence did not complete.") from RuntimeError("Device or resource busy")

    with pytest.raises(SourceUnavailable, match="cannot be opened: Device or resource busy"):
        PicameraSource(PicameraOptions(), make).__enter__()


def test_reading_what_is_not_open() -> None:
    with pytest.raises(SourceUnavailable, match="is not open"):
        opened(Picamera2()).read(0.1)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(MissingDependency) as caught:
        PicameraSource(PicameraOptions()).__enter__()
    assert "apt install python3-picamera2" in caught.value.fix
    assert "--system-site-packages" in caught.value.fix
    probe = PicameraSource.probe()
    assert not probe.usable
    assert "apt install python3-picamera2" in probe.missing


def test_the_library_is_asked_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("picamera2")
    monkeypatch.setattr(module, "Picamera2", Picamera2, raising=False)
    monkeypatch.setitem(sys.modules, "picamera2", module)
    assert PicameraSource.probe().usable
    with PicameraSource(PicameraOptions(width=160, height=96)) as source:
        assert read(source).index == 0
    monkeypatch.setattr(Picamera2, "global_camera_info", staticmethod(list))
    probe = PicameraSource.probe()
    assert not probe.usable
    assert "no camera" in probe.missing


def test_attached_cameras_are_chosen_by_their_place_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("picamera2")
    names = [{"Model": "imx708", "Id": "/base/b", "Num": 1}, {"Model": "imx219", "Id": "/base/a", "Num": 0}]
    opened: list[int] = []

    def make(number: int) -> Picamera2:
        opened.append(number)
        if number:
            raise RuntimeError("Failed to acquire camera: Device or resource busy")
        return Picamera2(number)

    make.global_camera_info = lambda: names  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "Picamera2", make, raising=False)
    monkeypatch.setitem(sys.modules, "picamera2", module)
    first, second = PicameraSource.attached()
    assert (first.name, first.where, first.options, first.lacks) == ("imx708", "/base/b", {"camera": 0}, "")
    assert [(mode.width, mode.height, mode.up_to) for mode in first.modes] == [(4608, 2592, True)]
    assert {control.name for control in first.controls} == {"frame_duration_us", "exposure_us", "gain"}
    assert (second.options, second.modes) == ({"camera": 1}, ())
    assert "Device or resource busy: close the program" in second.lacks
    assert opened == [0, 1]


@cache
def classes() -> dict[str, dict[str, ast.FunctionDef]]:
    """Methods of picamera2's own classes; of an overloaded one its implementation, which comes last."""
    wheel = next(vendor_wheels.fetch(ROOT / "requirements/picamera2.txt").glob("*.whl"))
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for name, file in FILES.items():
            tree = ast.parse(archive.read(file))
            owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
            found[name] = {node.name: node for node in owner.body if isinstance(node, ast.FunctionDef)}
    return found


def arguments(method: ast.FunctionDef) -> list[tuple[str, bool]]:
    """Name, and whether it may be left out."""
    names = [each.arg for each in method.args.args]
    required = len(names) - len(method.args.defaults)
    return [(name, place >= required) for place, name in enumerate(names) if name != "self"]


@pytest.mark.parametrize("name", FILES)
def test_the_stand_in_has_the_names_and_arguments_of_picamera2(name: str) -> None:
    real = classes()[name]
    members = vars(getattr(picamera2_stand_in, name))
    for member in sorted(members.keys() & {"__init__"} | {each for each in members if not each.startswith("_")} - {"told"}):
        found = members[member]
        if isinstance(found, property):
            assert [ast.unparse(mark) for mark in real[member].decorator_list] == ["property"]
            continue
        if member == "__init__" and name == "Job":  # made by picamera2 itself
            continue
        function = found.__func__ if isinstance(found, staticmethod) else found
        parameters = [each for each in inspect.signature(function).parameters.values() if each.kind != each.KEYWORD_ONLY]
        stand_in = [(each.name, each.default is not each.empty) for each in parameters if each.name != "self"]
        assert stand_in == arguments(real[member]), member


@pytest.mark.parametrize(("protocol", "name"), [(Camera, "Picamera2"), (Request, "CompletedRequest")])
def test_all_that_is_used_of_picamera2_is_there(protocol: type, name: str) -> None:
    real = classes()[name]
    for member, used in vars(protocol).items():
        if inspect.isfunction(used) and not member.startswith("_"):
            taken = [each for each in inspect.signature(used).parameters if each != "self"]
            offered = dict(arguments(real[member]))
            assert set(taken) <= offered.keys(), member
            assert all(optional for argument, optional in offered.items() if argument not in taken), member


def test_the_formats_of_picamera2_are_named_from_the_high_byte_down() -> None:
    """What encodes its pictures in the real package says so: what it calls BGR888 is red, green, blue in memory."""
    save = classes()["CompletedRequest"]["save"]
    assert "'BGR888': 'RGB', 'RGB888': 'BGR'" in ast.unparse(save)
