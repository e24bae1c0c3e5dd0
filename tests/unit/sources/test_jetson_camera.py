"""The settings that ship for a Jetson's CSI camera, checked as far as that is possible without one.

What the camera's element takes is listed here after NVIDIA's own source of it (gstnvarguscamerasrc.cpp, L4T 32). The pipeline
itself runs, on a test picture in the camera's place, and with GStreamer's own conversion in that of nvvidconv.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import system_gi

from edgecell.errors import SourceUnavailable
from edgecell.sources.gstreamer import GstreamerOptions, GstreamerSource

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED = Path(__file__).parents[3] / "deploy/settings/jetson-orin-nano.toml"
CAMERA, NVMM = "nvarguscamerasrc", "video/x-raw(memory:NVMM)"
TAKES = {
    *("aeantibanding", "aelock", "awblock", "ee-mode", "ee-strength", "exposurecompensation", "saturation"),
    *("exposuretimerange", "gainrange", "ispdigitalgainrange", "sensor-id", "sensor-mode", "silent", "timeout", "tnr-mode"),
    *("tnr-strength", "wbmode"),
}
RANGES = {"exposuretimerange": (34_000, 358_733_000), "gainrange": (1, 16), "ispdigitalgainrange": (1, 256)}
"""In nanoseconds, and as factors. What lies outside is not taken, and nothing is said."""
WHITE_BALANCE_OFF, WHITE_BALANCE_MANUAL = "0", "9"
FROM_NVVIDCONV = {"BGRx", "RGBA"}
"""Of what it gives, what has colours that are ready to read."""
ORANGE = "videotestsrc is-live=true pattern=solid-color foreground-color=0xffc86414"


def pipeline() -> str:
    text = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))["source"]["pipeline"]
    assert isinstance(text, str)
    return text


def elements() -> list[str]:
    return [each.strip() for each in pipeline().split("!")]


def properties() -> dict[str, str]:
    """Of the camera's element: name -> value, without the quotes."""
    return {name: value.strip('"') for name, value in re.findall(r'([\w-]+)=("[^"]*"|\S+)', elements()[0])}


def test_the_camera_s_element_has_all_that_is_set() -> None:
    assert elements()[0].startswith(f"{CAMERA} ")
    assert {"exposuretimerange", "gainrange", "ispdigitalgainrange", "wbmode"} <= properties().keys() <= TAKES


@pytest.mark.parametrize("name", RANGES)
def test_exposure_and_gains_are_fixed_to_what_it_takes(name: str) -> None:
    low, high = map(float, properties()[name].split())
    assert low == high
    assert RANGES[name][0] <= low <= RANGES[name][1]


def test_colours_do_not_follow_what_is_in_view() -> None:
    given = properties()
    assert given["wbmode"] in (WHITE_BALANCE_OFF, WHITE_BALANCE_MANUAL)
    assert (given["aelock"], given["awblock"]) == ("true", "true")


def test_an_exposure_is_shorter_than_a_frame() -> None:
    rate = re.search(r"framerate=(\d+)/(\d+)", pipeline())
    assert rate
    assert float(properties()["exposuretimerange"].split()[0]) < 1e9 * int(rate[2]) / int(rate[1])


def test_memory_goes_from_the_camera_s_to_the_processor_s() -> None:
    _, camera, converter, reader, sink = elements()
    assert camera.startswith(f"{NVMM},")
    assert "format=NV12" in camera
    assert (converter, sink) == ("nvvidconv", "appsink")
    assert reader.startswith("video/x-raw,")
    order = re.search(r"format=(\w+)", reader)
    assert order
    assert order[1] in FROM_NVVIDCONV


def test_with_a_test_picture_in_the_camera_s_place_it_gives_its_colours() -> None:
    system_gi.gst()
    text = pipeline().replace(elements()[0], ORANGE).replace(NVMM, "video/x-raw").replace("nvvidconv", "videoconvert")
    with GstreamerSource(GstreamerOptions(pipeline=text)) as opened:
        frame = opened.read(5.0)
    assert frame is not None
    assert frame.image.shape == (1080, 1920, 3)
    assert np.abs(frame.image.reshape(-1, 3).astype(int) - (200, 100, 20)).max() <= 5  # by way of NV12


@pytest.mark.parametrize(("memory", "refused"), [("", False), ("(memory:NVMM)", True)])
def test_memory_that_the_processor_cannot_read_is_refused(memory: str, refused: bool) -> None:
    """Without nvvidconv. That the rest is taken without the memory's name shows that it is for this."""
    system_gi.gst()
    text = f"fakesrc is-live=true do-timestamp=true format=time sizetype=fixed sizemax=9216 ! video/x-raw{memory}"
    opened = GstreamerSource(GstreamerOptions(pipeline=f"{text},format=RGB,width=64,height=48,framerate=30/1 ! appsink"))
    if not refused:
        with opened:
            assert opened.read(5.0) is not None
        return
    with pytest.raises(SourceUnavailable) as caught, opened:
        pass
    assert "a Jetson: nvvidconv ! video/x-raw,format=BGRx ! appsink" in caught.value.fix
