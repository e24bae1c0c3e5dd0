"""The LOINC codes of the shipped bundles are well formed and have a name."""

import pytest

from edgecell.bundle import open_bundle, shipped
from edgecell.report import loinc

CODES = {each.loinc for name in shipped() for each in open_bundle(name).manifest.classes if each.loinc}


def check_digit(number: str) -> str:
    """Luhn's, as LOINC's manual has it (appendix C)."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


@pytest.mark.parametrize("code", sorted({*CODES, *loinc.NAMES}))
def test_a_code_has_its_check_digit_and_a_name(code: str) -> None:
    number, _, digit = code.partition("-")
    assert digit == check_digit(number)
    assert loinc.NAMES[code]


def test_of_every_bundle_that_has_a_classifier_some_class_has_a_code() -> None:
    assert len(CODES) == 8
