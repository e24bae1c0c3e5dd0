"""Basler cameras: the vendor's own SDK, with the cameras that it emulates."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from basler_emulation import COLOURS, emulated, number_of, picture

from edgecell import clock
from edgecell.blocks import blocks_on
from edgecell.errors import FrameCorrupt, FrameTimeout, MissingDependency, SettingsError, SourceUnavailable
from edgecell.messages import Frame
from edgecell.runtime import backoff
from edgecell.runtime.camera import Camera
from edgecell.settings import decode_options, source_from_spec
from edgecell.sources.basler import NO_BLOCK, BaslerOptions, BaslerSource, block_of, sdk

pytest.importorskip("pypylon", reason="Basler's SDK is not installed")
PATIENCE_S = 60.0
FORMATS = (
    *(f"Bayer{order}{bits}" for order in ("RG", "GR", "GB", "BG") for bits in (8, 10, 12, 16)),
    "RGB8Packed",
    "BGR8Packed",
    "BGRA8Packed",
    "RGB16Packed",
)


@pytest.fixture(autouse=True)
def cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, 0815-0000 and 0815-0001. pylon reads this whenever it looks for cameras."""
    monkeypatch.setenv("PYLON_CAMEMU", "2")


def basler_source(**options: object) -> BaslerSource:
    return BaslerSource(msgspec.convert(options, BaslerOptions))


def made(folder: Path, **options: object) -> BaslerSource:
    return basler_source(**{**emulated(folder), **options})


def seen(source: BaslerSource) -> Frame:
    frame = source.read(PATIENCE_S)
    assert frame is not None
    return frame


def control(source: BaslerSource, name: str) -> object:
    return getattr(source._camera, name).Value


def fail(source: BaslerSource, buffers: int) -> None:
    """The next buffers come incomplete."""
    source._camera.ForceFailedBufferCount.Value = buffers
    source._camera.ForceFailedBuffer.Execute()


def refused(options: dict[str, object]) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught, basler_source(**options):
        pass
    return caught.value


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_pictures_are_red_green_blue_to_their_edges(tmp_path: Path, pixel_format: str) -> None:
    with made(tmp_path, pixel_format=pixel_format) as source:
        image = seen(source).image.astype(int)
    assert image.shape == (96, 160, 3)
    for stripe, colour in enumerate(COLOURS):
        inside = image[20:, stripe * 40 + 4 : stripe * 40 + 36]
        assert np.abs(inside - colour).max() <= 1, colour
    assert np.abs(image[20:, -1] - COLOURS[-1]).max() <= 1
    assert np.abs(image[-1, 124:] - COLOURS[-1]).max() <= 1


def test_a_full_picture_in_bayer_colours(tmp_path: Path) -> None:
    pictures = [picture(number, 1920, 1080) for number in range(3)]
    with basler_source(**emulated(tmp_path, pictures, suffix=".tiff"), latest=False) as source:
        assert control(source, "PixelFormat") == "BayerRG8"
        frames = [seen(source) for _ in range(4)]
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 0]
    assert frames[0].image.shape == (1080, 1920, 3)
    wrong = np.abs(frames[0].image.astype(int) - pictures[0]).max(axis=2) > 1
    assert wrong.mean() < 0.005  # beside the stripes' borders


def test_the_window_is_in_the_middle_of_the_sensor(tmp_path: Path) -> None:
    with made(tmp_path, features=None) as source:
        assert [control(source, name) for name in ("OffsetX", "OffsetY")] == [(4096 - 160) // 2, (4096 - 96) // 2]


def test_exposure_gain_and_rate_are_set_and_told(tmp_path: Path) -> None:
    with made(tmp_path, exposure_us=2500, gain=6.0, fps=50) as source:
        assert control(source, "ExposureTime") == 2500
        assert control(source, "Gain") == pytest.approx(6.0, abs=0.1)
        assert (control(source, "AcquisitionFrameRateEnable"), control(source, "AcquisitionFrameRate")) == (True, 50)
        assert seen(source).exposure_us == 2500


def test_what_is_not_chosen_stays_as_the_features_say(tmp_path: Path) -> None:
    lines = ["ExposureAuto\tContinuous", "Gain\t3.000e+00", "PixelFormat\tBayerGB12"]
    with basler_source(**emulated(tmp_path, lines=lines)) as source:
        assert control(source, "ExposureAuto") == "Continuous"
        assert control(source, "Gain") == pytest.approx(3.0, abs=0.1)
        assert control(source, "PixelFormat") == "BayerGB12"
        assert seen(source).exposure_us is None


def test_a_fixed_exposure_ends_the_automatic_one(tmp_path: Path) -> None:
    options = emulated(tmp_path, lines=["ExposureAuto\tContinuous", "GainAuto\tContinuous"])
    with basler_source(**options, exposure_us=1000, gain=1.0) as source:
        assert [control(source, name) for name in ("ExposureAuto", "GainAuto")] == ["Off", "Off"]
        assert seen(source).exposure_us == 1000


def test_a_camera_left_waiting_for_triggers_gives_frames(tmp_path: Path) -> None:
    options = emulated(tmp_path, lines=["TriggerSelector\tFrameStart", "TriggerMode\tOn"])
    with basler_source(**options) as source:
        assert seen(source).index == 0


def test_one_by_one_gives_every_frame_to_who_is_slow(tmp_path: Path) -> None:
    with made(tmp_path, latest=False, buffers=10, fps=100) as source:
        seen(source)
        wait_for_images(source, 8)
        frames = [seen(source) for _ in range(8)]
    assert [frame.index for frame in frames] == list(range(1, 9))
    assert [number_of(frame.image) for frame in frames] == [index % 5 for index in range(1, 9)]


def test_the_latest_is_the_newest_and_the_others_are_gaps(tmp_path: Path) -> None:
    with made(tmp_path, latest=True, fps=100) as source:
        first = seen(source)
        clock.sleep(0.3)
        late = seen(source)
    assert first.index == 0
    assert late.index > 5
    assert (number_of(late.image) - number_of(first.image)) % 5 == late.index % 5


def wait_for_images(source: BaslerSource, count: int) -> None:
    """Until so many wait in pylon's queue."""
    end = clock.monotonic_ns() + int(PATIENCE_S * 1e9)
    while source._camera.NumReadyBuffers.Value < count and clock.monotonic_ns() < end:
        clock.sleep(0.005)


def test_time_is_the_reading_s(tmp_path: Path) -> None:
    with made(tmp_path) as source:
        before = clock.monotonic_ns()
        captured = [seen(source).captured_ns for _ in range(3)]
        after = clock.monotonic_ns()
    assert [before, *captured, after] == sorted([before, *captured, after])
    assert len(set(captured)) == 3


def taken_number(source: BaslerSource) -> tuple[int, bool]:
    """The next number, and whether its frame is whole."""
    try:
        return seen(source).index, True
    except FrameCorrupt as error:
        said = str(error)
        index = error.index
    assert f"frame {index} is damaged: The buffer was incompletely grabbed" in said
    return index, False


def test_incomplete_buffers_take_their_numbers(tmp_path: Path) -> None:
    with made(tmp_path, latest=False, buffers=50) as source:
        seen(source)
        fail(source, 2)
        taken = [taken_number(source) for _ in range(40)]
    corrupt = [index for index, whole in taken if not whole]
    assert [index for index, _ in taken] == list(range(1, 41))
    assert corrupt[1] == corrupt[0] + 1
    assert len(corrupt) == 2


def test_nothing_in_time_is_a_time_out_and_no_frame(tmp_path: Path) -> None:
    with made(tmp_path, fps=2) as source:
        seen(source)
        before = clock.monotonic_ns()
        with pytest.raises(FrameTimeout, match=r"no frame within 0\.1 s"):
            source.read(0.1)
        assert clock.monotonic_ns() - before >= 99_000_000
        assert seen(source).index == 1


def test_unplugged_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run sees it: time-outs while the camera is away, then its frames, numbered on."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.02)
    source = made(tmp_path, serial="0815-0001", latest=False)
    with Camera(source) as run:
        assert [run.read(PATIENCE_S).index for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
        monkeypatch.setenv("PYLON_CAMEMU", "1")
        source._camera.DestroyDevice()
        with pytest.raises(FrameTimeout, match="basler:0815-0001: the camera is gone"):
            run.read(PATIENCE_S)
        while not run.troubles["camera"].text.startswith("basler:0815-0001: no such camera"):
            with pytest.raises(FrameTimeout):
                run.read(0.1)
        monkeypatch.setenv("PYLON_CAMEMU", "2")
        frame: Frame | None = None
        while frame is None:
            with suppress(FrameTimeout):
                frame = run.read(0.5)
        assert frame.index == 2
        assert run.troubles == {}


@pytest.mark.parametrize(
    ("options", "serial"), [({}, "0815-0000"), ({"index": 1}, "0815-0001"), ({"serial": "0815-0001"}, "0815-0001")]
)
def test_which_camera(options: dict[str, object], serial: str) -> None:
    with basler_source(**options) as source:
        assert source._camera.GetDeviceInfo().GetSerialNumber() == serial


@pytest.mark.parametrize("options", [{"index": 2}, {"serial": "4711"}])
def test_no_such_camera_names_those_that_are_there(options: dict[str, object]) -> None:
    error = refused(options)
    assert "no such camera" in error.what
    assert error.fix == "use serial: 0815-0000 (Emulation), 0815-0001 (Emulation)"


def test_without_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYLON_CAMEMU")
    if BaslerSource.probe().usable:
        pytest.skip("a Basler camera is connected")
    assert refused({}).fix == sdk.CONNECT
    assert BaslerSource.probe().missing == f"no Basler camera: {sdk.CONNECT}"


@pytest.mark.parametrize(
    ("options", "said", "fix"),
    [
        ({"width": 9999}, "does not take width = 9999: Value = 9999 must be equal or smaller than Max = 4096", "1 to 4096"),
        ({"gain": 99.0}, "does not take gain = 99: Value 99", "give 0 to 48"),
        ({"pixel_format": "BayerXX8"}, "has no pixel_format BayerXX8", "set pixel_format to one of Mono8, "),
    ],
)
def test_what_the_camera_does_not_take(options: dict[str, object], said: str, fix: str) -> None:
    error = refused(options)
    assert said in error.what
    assert fix in error.fix


def test_features_of_another_program(tmp_path: Path) -> None:
    features = tmp_path / "camera.pfs"
    features.write_text("Width = 100\n", encoding="ascii")
    error = refused({"features": features})
    assert f"{features}: does not load into basler:0: The stream is not a GenApi feature stream" in error.what
    assert "Exception" not in error.what
    assert "pylon Viewer" in error.fix


def test_a_refused_camera_is_closed(tmp_path: Path) -> None:
    source = made(tmp_path, gain=99.0)
    with pytest.raises(SourceUnavailable, match="does not take gain"), source:
        pass
    with pytest.raises(SourceUnavailable, match="is not open"):
        source.read(0.1)


def test_colour_is_not_guessed(tmp_path: Path) -> None:
    """A camera that is named as one without colour is taken at its word: its levels are red, green and blue."""
    with made(tmp_path, pixel_format="Mono8") as source:
        image = seen(source).image
    assert (image == image[:, :, :1]).all()
    assert len(np.unique(image[50])) == len(COLOURS)


@pytest.mark.parametrize(
    ("told", "indices"),
    [
        ((0, 1, 2, 5), (0, 1, 2, 5)),
        ((1, 2, 4), (0, 1, 3)),
        ((65534, 65535, 1, 3), (0, 1, 2, 4)),
        ((65533, 3), (0, 5)),
        ((70000, 70001, 70001), (0, 1, 2)),
        ((0, 0, 0), (0, 1, 2)),
        ((7, 0, 9, NO_BLOCK, 13), (0, 1, 2, 3, 6)),
        ((NO_BLOCK, NO_BLOCK), (0, 1)),
    ],
)
def test_losses_by_the_camera_s_numbers(told: Sequence[int], indices: Sequence[int]) -> None:
    index = -1
    block: int | None = None
    given: list[int] = []
    for each in told:
        before, block = block, block_of(block, each)
        index += blocks_on(before, block)
        given.append(index)
    assert tuple(given) == indices


def test_probe_tells_what_is_there() -> None:
    probe = BaslerSource.probe()
    assert (probe.usable, probe.missing) == (True, "")
    assert probe.version.startswith("pypylon ")


def test_without_pypylon_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypylon", None)
    assert not BaslerSource.probe().usable
    assert BaslerSource.probe().missing.endswith("pip install 'edgecell[basler]'")
    with pytest.raises(MissingDependency) as caught, BaslerSource(BaslerOptions()):
        pass
    assert caught.value.fix == sdk.INSTALL


def test_a_process_that_makes_errors_of_warnings_lives_through_the_import() -> None:
    program = "from edgecell.sources.basler import BaslerSource; print(BaslerSource.probe().usable)"
    command = [sys.executable, "-W", "error", "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


@pytest.mark.parametrize("spec", ["basler:index=-1", "basler:buffers=1", "basler:fps=0", "basler:pixels=3"])
def test_options_that_make_no_sense(spec: str) -> None:
    with pytest.raises(SettingsError):
        decode_options(BaslerSource, source_from_spec(spec))


def test_a_serial_number_on_the_command_line_and_the_features_beside_the_settings(tmp_path: Path) -> None:
    chosen = decode_options(BaslerSource, source_from_spec("basler:22180547"))
    assert (chosen.serial, BaslerSource(chosen).source_id) == ("22180547", "basler:22180547")
    assert isinstance(decode_options(BaslerSource, source_from_spec("basler:features=camera.pfs")).features, Path)
