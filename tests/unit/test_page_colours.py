"""Contrast of the page's colours in both themes by WCAG 2.2: 4.5 for text (1.4.3), 3 for what is no text (1.4.11)."""

import re
from pathlib import Path

import pytest

from edgecell import wire

STYLE = (Path(wire.__file__).parent / "web/static/page.css").read_text(encoding="utf-8")
TEXT, SHAPE = 4.5, 3.0
ON = {
    "ink": ("ground", "surface", "chosen"),
    "soft": ("ground", "surface"),
    "accent": ("ground", "surface"),
    "danger": ("ground", "surface"),
    "good": ("surface",),
    "person": ("surface",),
    "on-accent": ("accent",),
    "on-danger": ("danger",),
    "warn-ink": ("warn-ground",),
    "alarm-ink": ("alarm-ground",),
}
"""Text colour -> what it stands on."""
SHAPES = {
    "line": ("ground", "surface"),
    "machine": ("ground",),
    "person-bar": ("ground",),
    "ink": ("machine", "person-bar"),
    "accent": ("chosen", "ground", "surface"),
}
"""Borders, bars, the ring of the focus; the line of the interval on its bar."""


def themes() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, 0-1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_published() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", themes())
@pytest.mark.parametrize(("pairs", "least"), [(ON, TEXT), (SHAPES, SHAPE)], ids=["text", "shapes"])
def test_contrast_is_enough(theme: str, pairs: dict[str, tuple[str, ...]], least: float) -> None:
    colours = themes()[theme]
    poor = {
        (colour, ground): round(contrast(colours[colour], colours[ground]), 2)
        for colour, grounds in pairs.items()
        for ground in grounds
        if contrast(colours[colour], colours[ground]) < least
    }
    assert poor == {}


def test_names_of_cells_can_be_read_on_their_colours() -> None:
    """White letters on the picture, each on its class's colour; no two classes have the same."""
    script = (Path(wire.__file__).parent / "web/static/js/palette.js").read_text(encoding="utf-8")
    colours = [colour for colour in re.findall(r"#[0-9a-f]{6}", script) if colour not in ("#ff8c00", "#969696")]
    assert len(set(colours)) == len(colours) == 13
    assert [colour for colour in colours if contrast(colour, "#ffffff") < TEXT] == []


def test_dark_theme_has_every_colour() -> None:
    light, dark = (set(re.findall(r"--([\w-]+): #", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL))
    assert light == dark


def test_no_colour_stands_outside_the_themes() -> None:
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\bhsl\(", rules) == []
    assert re.findall(r"rgb\(.*?\)", rules) == ["rgb(0 0 0 / 55%)"]  # behind a dialog
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) == {*themes()["light"], "gap"}


def test_motion_is_only_for_who_wants_it() -> None:
    quiet = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}", "", STYLE, flags=re.DOTALL)
    assert not re.search(r"transition|animation", quiet)
