"""The card says what the model must not be used for, and claims nothing without enough cells."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from toy_cells import toy_recipe, write_split

from calibration.card import SPLIT_NOTE, card
from calibration.metrics import figures
from calibration.paired import Paired
from edgecell.bundle import Confidence, Dataset
from edgecell.messages import NOTICE


def test_the_card_carries_notice_split_figures_and_sources(tmp_path: Path) -> None:
    recipe = toy_recipe(tmp_path / "toy.toml", write_split([], tmp_path / "toy.tsv"))
    truth = np.repeat([0, 1, 2], [100, 60, 3])
    predicted = truth.copy()
    predicted[:10] = 1
    found = figures(predicted, np.ones(163, bool), truth, recipe.class_names)
    tested = {"toy, test split": replace(found, beside_float=Paired(n=163, gained=3, lost=1))}
    sources = [Dataset(name="pbc", licence="CC BY 4.0", source="Acevedo")]
    text = card(recipe, tested, Confidence(temperature=1.234, unsure_below=0.9), sources)
    assert NOTICE in text
    assert SPLIT_NOTE in text
    assert "### toy, test split" in text
    assert "93.87 % (153/163, 95 % " in text
    assert "| neutrophil | 100 | 100.0 % (96.0-100.0) | 90.0 % (82.4-95.1) | 94.7 % (" in text
    assert "| platelet | 3 | insufficient | insufficient | insufficient |" in text
    assert "- macro F1 over 2 classes: 0.93" in text
    assert "- accuracy of INT8 less that of FP32: +1.23 points (95 % " in text
    assert "AUC" not in text, "it was not measured"
    assert "0.9000 (temperature 1.234)" in text
    assert "pbc (CC BY 4.0): Acevedo" in text


def test_the_card_names_what_is_missing_only_where_it_may_be_met(tmp_path: Path) -> None:
    blood = toy_recipe(tmp_path / "toy.toml", write_split([], tmp_path / "toy.tsv"))
    known = Confidence(temperature=1.0, unsure_below=0.9)
    assert "or as unsure: so do blast, plasma cell, atypical lymphocyte, smudge cell." in card(blood, {}, known, [])
    assert "blast" not in card(msgspec.structs.replace(blood, specimen="balf"), {}, known, [])
    assert "Counted as unsure is every cell whose confidence" in card(blood, {}, known, [])
