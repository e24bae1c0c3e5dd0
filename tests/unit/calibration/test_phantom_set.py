"""The drawn set: what its labels say is what its pictures show, and the adapters of own cells read it as it is."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from calibration import phantom_set, recipe
from calibration.commands import phantom_set as command
from calibration.datasets import adapter
from edgecell.imagefile import load_image
from edgecell.sources.phantom.catalogue import DIAMETERS_UM

RECIPES = Path(recipe.__file__).parent / "recipes" / "own"
FIELDS = 10


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("own")
    result = CliRunner().invoke(command.command, ["--out", str(out), "--fields", str(FIELDS)])
    assert result.exit_code == 0, result.output
    return out, result.output


def test_it_says_that_the_cells_are_drawn(drawn: tuple[Path, str]) -> None:
    assert f"{FIELDS} fields with " in drawn[1]
    assert "says nothing about real ones" in drawn[1]


def test_every_box_lies_on_something_stained(drawn: tuple[Path, str]) -> None:
    for labels in (drawn[0] / "fields/labels").iterdir():
        image = load_image(drawn[0] / "fields/images" / f"{labels.stem}.jpg")
        bright = np.percentile(image[:, :, 1], 95)
        for line in labels.read_text().splitlines():
            number, x, y, width, height = (float(word) for word in line.split())
            assert phantom_set.CLASSES[int(number)] in DIAMETERS_UM
            x0, x1 = round((x - width / 2) * phantom_set.WIDTH), round((x + width / 2) * phantom_set.WIDTH)
            y0, y1 = round((y - height / 2) * phantom_set.HEIGHT), round((y + height / 2) * phantom_set.HEIGHT)
            if x1 - x0 > 10 and y1 - y0 > 10:  # the border may leave a rim of a cell
                assert image[y0:y1, x0:x1, 1].min() < 0.85 * bright


@pytest.mark.parametrize("name", ["boxes", "crops"])
def test_the_recipes_of_own_cells_fit_it(name: str, drawn: tuple[Path, str]) -> None:
    how, _ = recipe.load(RECIPES / f"{name}.toml")
    [data] = how.data
    found = list(adapter(data.dataset, data.options).read(drawn[0]))
    labels = Counter(data.labels(each.labels, how.class_names) for each in found)
    assert None not in labels
    assert labels["granulocyte",] >= 3
    assert labels["mononuclear",] >= 3
    for each in found:
        assert each.image().shape[2] == 3
        assert each.pixel_um == 0.1
