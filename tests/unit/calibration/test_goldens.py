"""Golden answers of a bundle, written anew."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from calibration.certify import SIZE
from calibration.commands import cli
from calibration.goldens import answers
from edgecell.adapt.onnxfile import with_unrounded_sums
from edgecell.bundle import SHIPPED, Bundle, Encoding, open_bundle
from edgecell.certificate import Certificate
from edgecell.errors import BundleCorrupt
from edgecell.golden import GOLDEN, inputs, read_golden
from edgecell.signature import ANY

NAMES = ("bloodmnist28", "cells3")
ENCODINGS: tuple[Encoding, ...] = ("float", "u8s8", "s8s8")


@pytest.fixture(params=NAMES)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / str(request.param)
    shutil.copytree(SHIPPED / str(request.param), folder)
    return folder


def renewed(folder: Path) -> Bundle:
    ended = CliRunner().invoke(cli, ["golden", str(folder)], catch_exceptions=False)
    assert ended.exit_code == 0
    assert f"{folder.name} s8s8: " in ended.output
    return open_bundle(folder, ANY)


def measured(certificate: Certificate) -> tuple[object, ...]:
    """Figures and limits but for the size of the files."""
    figures = {name: figure for name, figure in certificate.figures.items() if name != SIZE}
    return figures, [each for each in certificate.limits if each.figure != SIZE]


def test_shipped_bundles_have_the_tolerances_that_the_workshop_would_write(copy: Path) -> None:
    """Near enough: other processors round elsewhere, and a cell at the edge of being clear may be in or out."""
    before = open_bundle(copy, ANY)
    made = renewed(copy)
    for encoding in ENCODINGS:
        old, new = (read_golden(each, encoding) for each in (SHIPPED / copy.name / GOLDEN, made.file(GOLDEN)))
        assert abs(len(new.crops) - len(old.crops)) <= 2
        assert new.tolerance == pytest.approx(old.tolerance, rel=0.1)
    assert made.certificate is not None
    assert before.certificate is not None
    assert measured(made.certificate) == measured(before.certificate)


def test_what_other_engines_rightly_change_is_added_to_the_int8_encodings_alone(copy: Path, tmp_path: Path) -> None:
    """The tolerance is quantization's own deviation, or 2 % of the spread, and for the float model exactly that; what
    OpenVINO's sums change is added to `u8s8`, what halves change to `s8s8`."""
    bundle, golden = open_bundle(copy, ANY), copy / GOLDEN
    reference, certified = read_golden(golden, "float"), read_golden(golden, "u8s8")
    model = with_unrounded_sums(copy / "u8s8.onnx", tmp_path / "u8s8.onnx")
    summed = answers(model, "u8s8", inputs(reference.crops, bundle.manifest))
    for name, answer in reference.outputs.items():
        least = 0.02 * answer.std()
        apart = {each: np.abs(read_golden(golden, each).outputs[name] - answer).max() for each in ENCODINGS[1:]}
        also = np.abs(summed[name] - certified.outputs[name]).max()
        assert also > 0
        assert reference.tolerance[name] == pytest.approx(least, rel=1e-2)
        assert read_golden(golden, "s8s8").tolerance[name] > 1.1 * apart["s8s8"]
        assert certified.tolerance[name] == pytest.approx(max(apart["u8s8"], least) + also, rel=0.1)


def test_files_that_nobody_certified_are_not_answered_anew(copy: Path) -> None:
    with (copy / "CARD.md").open("a") as card:
        card.write("more")
    before = (copy / GOLDEN).read_bytes()
    ended = CliRunner().invoke(cli, ["golden", str(copy)])
    assert isinstance(ended.exception, BundleCorrupt)
    assert (copy / GOLDEN).read_bytes() == before
