"""`edgecell cameras`: every camera that a source finds, with settings that choose it."""

from pathlib import Path

import pytest
from command_line import called

from edgecell import plugins, settings, sources
from edgecell.cameras import Camera, Control, Mode
from edgecell.cli.cameras import block
from edgecell.messages import NOTICE
from edgecell.protocols import Probe
from edgecell.sources.images import ImagesSource

CAMERA = Camera(
    name="A camera [sharp]",
    where="in the cupboard",
    options={"path": '/dev/a "b"\\c \t\u00e9\u007f', "width": 640, "fps": 29.97, "latest": True},
    modes=(
        *(Mode(pixel_format="MJPG", width=width, height=480, fps=(30.0, 29.97)) for width in range(600, 740, 10)),
        Mode(pixel_format="RG10", width=640, height=480, up_to=True, usable=False),
    ),
    controls=(Control(name="exposure_us", minimum=100, maximum=10_000_000, now=2000),),
)


@pytest.fixture(autouse=True)
def _no_other_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TABLE", {"images": "edgecell.sources.images:ImagesSource"})


def attach(monkeypatch: pytest.MonkeyPatch, *cameras: Camera) -> None:
    monkeypatch.setattr(ImagesSource, "attached", classmethod(lambda cls: cameras))


def test_text_tells_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    attach(monkeypatch, CAMERA)
    ended = called("cameras")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0] == "A camera [sharp] (in the cupboard), by the source images"
    assert "MJPG: 600x480 at 30, 29.97 fps; 610x480 at 30, 29.97 fps; " in lines[1]
    assert lines[1].endswith("; and 2 more")
    assert lines[2] == "  RG10 (cannot be read by this source): up to 640x480"
    assert lines[3] == "  exposure_us: 100 to 10000000, now 2000"


def test_the_block_is_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(block("images", CAMERA), encoding="utf-8")
    source = settings.load(tmp_path / "bench.toml").source
    assert source.part == "images"
    assert source.options == CAMERA.options


def test_json_has_each_camera_and_each_source(monkeypatch: pytest.MonkeyPatch) -> None:
    attach(monkeypatch, CAMERA)
    (document,) = called("cameras", "--json").documents
    (camera,) = document["cameras"]
    assert (camera["source"], camera["name"], camera["settings"]) == ("images", CAMERA.name, block("images", CAMERA))
    assert camera["modes"][0] == {
        "pixel_format": "MJPG",
        "width": 600,
        "height": 480,
        "up_to": False,
        "fps": [30.0, 29.97],
        "usable": True,
    }
    assert document["sources"]["images"]["usable"] is True
    assert document["notice"] == NOTICE


def test_a_camera_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    attach(monkeypatch, Camera(name="locked", where="here", options={"path": "a"}, lacks="no permission: ask"))
    assert "  cannot be used: no permission: ask" in called("cameras").out.splitlines()


def test_without_cameras_each_source_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TABLE", {"v4l2": "edgecell.sources.v4l2:V4l2Source", **sources.TABLE})
    part = plugins.load("source", sources.TABLE, "v4l2")
    monkeypatch.setattr(part, "attached", classmethod(lambda cls: ()))
    monkeypatch.setattr(part, "probe", classmethod(lambda cls: Probe(usable=False, version="", missing="no node: plug")))
    ended = called("cameras")
    assert (ended.code, ended.out.splitlines()) == (0, ["v4l2: no node: plug", "images: ready, no camera found"])
