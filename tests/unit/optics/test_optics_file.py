"""The optics file: what is written is read again, and what cannot be a measurement is refused by field."""

from pathlib import Path

import msgspec
import pytest

from edgecell import settings
from edgecell.errors import SettingsError
from edgecell.optics.file import Exposure, FlatField, Focus, Optics, PixelSize, WhiteBalance, load, save

GRID = ((190.12, 200.0, 191.0), (188.0, 199.5, 192.25))
WHEN = "2026-01-31T12:00:00.000Z"
WHOLE = Optics(
    camera='acA1920 "left"',
    objective="100x/1.25 oil, µ",
    size_px=(1920, 1200),
    scale=PixelSize(pixel_um=(0.0688, 0.0691), how="stage micrometer", samples=(40, 38), measured=WHEN),
    flat=FlatField(dark=(2.0, 1.5, 3.0), red=GRID, green=GRID, blue=GRID, frames=8, measured=WHEN),
    white=WhiteBalance(level=(198.0, 197.0, 180.5), frames=8, measured=WHEN),
    exposure=Exposure(level=(201.0, 199.0, 182.0), aim=(190.0, 240.0), exposure_us=1250.0, measured=WHEN),
    focus=Focus(sharpest_um=0.22, softest_um=0.48, frames=30, measured=WHEN),
)
FLAT = "[flat]\nred = [[9.0, 9.0], [9.0, 9.0]]\ngreen = [[9.0, 9.0], [9.0, 9.0]]\n"


def complaint(folder: Path, text: str) -> str:
    path = folder / "optics.toml"
    path.write_text(f"size_px = [1920, 1200]\n{text}", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert caught.value.fix
    return caught.value.what


@pytest.mark.parametrize("optics", [WHOLE, Optics(size_px=(640, 480)), msgspec.structs.replace(WHOLE, flat=None)])
def test_what_is_written_is_read_again(optics: Optics, tmp_path: Path) -> None:
    path = tmp_path / "new" / "optics.toml"
    save(optics, path)
    assert load(path) == optics
    assert [file.name for file in path.parent.iterdir()] == ["optics.toml"]


def test_the_finer_side_is_the_scale_of_square_pixels() -> None:
    assert PixelSize(pixel_um=(0.1, 0.08), how="told").square_um == 0.08


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[scale]\nhow = "guess"\npixel_um = [0.1, 0.1]', "scale.how"),
        ('[scale]\nhow = "told"\npixel_um = [0.1, 7.0]', "scale.pixel_um"),
        ('[scale]\nhow = "told"\npixel_um = [nan, 0.1]', "scale.pixel_um"),
        ('[scale]\nhow = "told"\npixel_um = 0.1', "scale.pixel_um"),
        ('[scale]\nhow = "told"\npixel_um = [0.1, 0.1]\nuncertainty = [0.1, nan]', "scale.uncertainty.1"),
        ('[scale]\nhow = "told"\npixel_um = [0.1, 0.1]\nsamples = [-1, 1]', "scale.samples.0"),
        ("[white]\nlevel = [200.0, 0.0, 200.0]", "white.level"),
        ("[white]\nlevel = [200.0, 200.0]", "white.level"),
        (f"{FLAT}blue = [[9.0, 9.0]]", "flat.blue"),
        (f"{FLAT}blue = [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]", "as many rows"),
        (f"{FLAT}blue = [[9.0, 9.0], [9.0, 9.0, 9.0]]", "all of one length"),
        (f"{FLAT}blue = [[9.0, 9.0], [9.0, 4.0]]", "blue has values less than 5 above its dark level"),
        (FLAT, "flat.blue is missing"),
        ("[exposure]\nlevel = [0.0, 200.0, 200.0]\naim = [200.0, 240.0]", "exposure.level.0"),
        ("[exposure]\nlevel = [9.0, 9.0, 9.0]\naim = [240.0, 200.0]", "the lower value first"),
        ("[focus]\nsharpest_um = 0.4\nsoftest_um = 0.3", "softest_um must be larger"),
        ("[flats]\n", "unknown key flats"),
    ],
)
def test_what_cannot_be_a_measurement_is_named(text: str, named: str, tmp_path: Path) -> None:
    assert named in complaint(tmp_path, text)


def test_a_file_of_no_frame_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "optics.toml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="size_px is missing"):
        load(path)


def test_a_file_that_is_not_there_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"optics file .*nowhere\.toml cannot be read"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        save(WHOLE, tmp_path / "file" / "optics.toml")


def test_the_settings_name_it_from_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text('[optics]\nfile = "optics.toml"\n')
    assert settings.load(tmp_path / "bench.toml").optics.file == str(tmp_path / "optics.toml")
    assert settings.Settings().optics.file == ""
