from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgecell.errors import SettingsError
from edgecell.settings import PartSettings, Settings, decode_options, load, source_from_spec


class CameraOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: Path
    seed: int = 1
    width: int = 1280
    scale: float | None = None


class Camera:
    Options = CameraOptions


def write(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(write(folder, text))
    assert caught.value.fix
    return str(caught.value)


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))
    assert settings == Settings()
    assert (settings.source.part, settings.segmenter.part, settings.engine.part) == ("phantom", "auto", "auto")
    assert settings.models == {"nucleated": "pbc8"}


def test_a_parts_options_stand_inline_or_in_a_table_of_their_own(tmp_path: Path) -> None:
    inline = load(write(tmp_path, 'source = {part = "images", path = "a", seed = 3}'))
    below = load(write(tmp_path, '[source]\npart = "images"\n[source.options]\npath = "a"\nseed = 3'))
    assert inline == below
    assert inline.source.options == {"path": "a", "seed": 3}


def test_the_part_may_be_left_out(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "[engine]\nthreads = 2"))
    assert (settings.engine.part, settings.engine.options) == ("auto", {"threads": 2})


def test_bundle_folders_are_relative_to_the_file_and_names_stay_names(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[models]\nnucleated = "pbc8"\nplatelet = "./mine"\nother = "up/mine"'))
    assert settings.models["nucleated"] == "pbc8"
    assert settings.models["platelet"] == str(tmp_path.resolve() / "mine")
    assert settings.models["other"] == str(tmp_path.resolve() / "up" / "mine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nwindow_z = 2.0", ["bench.toml", "run.window_z", "did you mean window_s?", "heartbeat_s"]),
        ("[journal]\npaht = 'x'", ["unknown key journal.paht", "did you mean path?", "crop_budget_mib"]),
        ("[journal]\ncrop_budget_mib = 0", ["journal.crop_budget_mib", ">= 1", "e.g. crop_budget_mib = 1024"]),
        ("sampel_id = 'x'", ["unknown key sampel_id", "did you mean sample_id?"]),
        ("[run]\nwindow_s = 'fast'", ["run.window_s", "expected `float`, got `str`", "e.g. window_s = 1.0"]),
        ("[run]\nmax_frames = 0", ["run.max_frames", ">= 1"]),
        ("[run]\ncounting = 'twice'", ["run.counting", 'counting = "every_frame"']),
        ("device_id = ''", ["device_id", "length >= 1"]),
        ("device_id = 7", ["device_id", "expected `str`, got `int`"]),
        ("models = 3", ["models"]),
        ("[models]\nnucleated = 3", ["models", "expected `str`, got `int`"]),
        ("source = 'phantom'", ["source must be a table", "[source]"]),
        ("[source]\npart = 3", ["source.part", "expected `str`, got `int`"]),
        ("[source]\noptions = 3", ["[source]", "options must be a table"]),
        ("[source]\nseed = 1\n[source.options]\nseed = 2", ["seed stands twice"]),
        ("[run\n", ["bench.toml", "not valid TOML", "line 1"]),
        ("a = 1\nb = = 2", ["not valid TOML", "line 2"]),
        ("a = " + "[" * 5000, ["bench.toml"]),
    ],
)
def test_a_mistake_is_named_with_file_field_and_fix(tmp_path: Path, text: str, words: list[str]) -> None:
    message = complaint(tmp_path, text)
    assert "\n" not in message
    for word in [*words, "Fix: "]:
        assert word in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            load(path)


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_bytes(b'device_id = "\xff"')
    with pytest.raises(SettingsError, match="not UTF-8 text at byte 13"):
        load(path)
    path.write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(SettingsError, match="larger than"):
        load(path)


@pytest.mark.parametrize(
    ("spec", "part", "options"),
    [
        ("phantom", "phantom", {}),
        ("images:fields/a=b/c.jpg", "images", {"": "fields/a=b/c.jpg"}),
        ("images:C:/fields", "images", {"": "C:/fields"}),
        ("phantom:seed=3,width=640", "phantom", {"seed": "3", "width": "640"}),
        ("v4l2:0", "v4l2", {"": "0"}),
    ],
)
def test_a_source_specification(spec: str, part: str, options: dict[str, str]) -> None:
    source = source_from_spec(spec)
    assert (source.part, source.options) == (part, options)


@pytest.mark.parametrize("spec", ["", ":", ":x", "images:"])
def test_half_a_source_specification_is_refused(spec: str) -> None:
    with pytest.raises(SettingsError, match="NAME:VALUE"):
        source_from_spec(spec)


def test_text_from_the_command_line_becomes_what_the_option_is() -> None:
    assert decode_options(Camera, source_from_spec("images:path=a,seed=3,scale=0.5")) == CameraOptions(
        path=Path("a"), seed=3, scale=0.5
    )
    assert decode_options(Camera, source_from_spec("images:7")) == CameraOptions(path=Path("7"))


def test_paths_start_from_the_settings_file(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[source]\npart = "images"\npath = "fields"'))
    assert decode_options(Camera, settings.source).path == tmp_path.resolve() / "fields"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"path": "a", "sede": 3},
            ["[source]: unknown key sede", "did you mean seed?", "known keys: path, scale, seed, width"],
        ),
        ({"path": "a", "seed": "3"}, ["[source]: seed", "expected `int`, got `str`", "e.g. seed = 1"]),
        ({"path": 3}, ["[source]: path", "expected `path`, got `int`"]),
        ({}, ["[source]: path is missing", "add path ="]),
    ],
)
def test_a_mistake_in_a_parts_options_is_named(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        decode_options(Camera, PartSettings(part="images", options=options, where="[source]"))
    for word in words:
        assert word in str(caught.value)
