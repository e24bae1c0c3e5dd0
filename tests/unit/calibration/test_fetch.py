"""The command `fetch`: what it says, what it counts, and what it asks of a person. No address is ever called here."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from toy_cells import pbc_files, write_folder

from calibration.commands import fetch
from calibration.datasets import TABLE, adapter
from calibration.datasets.pbc import PUBLISHED, Pbc
from calibration.download import Download
from edgecell.errors import SettingsError


def called(dataset: str, data: Path) -> Result:
    return CliRunner().invoke(fetch.command, [dataset, "--data", str(data)])


def offer(monkeypatch: pytest.MonkeyPatch, *files: Download, count: int | None = None) -> None:
    """PBC with three classes, and other files than the published one."""
    some = tuple(
        replace(each, count=count) for each in Pbc.facts.classes if each.name in ("neutrophil", "lymphocyte", "platelet")
    )
    monkeypatch.setattr(Pbc, "facts", replace(Pbc.facts, files=files, classes=some))


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_address_is_https_and_every_checksum_is_one(name: str) -> None:
    for each in adapter(name).facts.files:
        assert each.url.startswith("https://")
        kind, _, digest = each.checksum.partition(":")
        assert (kind, len(digest)) in (("", 0), ("md5", 32), ("sha256", 64))


@pytest.mark.parametrize("name", sorted(TABLE))
def test_there_is_a_way_to_get_every_dataset(name: str) -> None:
    assert adapter(name).facts.files or adapter(name).facts.by_hand


def test_what_only_a_person_can_get_is_said_before_anything_else(tmp_path: Path) -> None:
    result = called("mll_marrow", tmp_path)
    assert "Licence: CC BY 4.0" in result.output
    assert "page: https://doi.org/10.7937/TCIA.AXH3-T579" in result.output
    assert "Aspera" in result.output
    assert f"into mll_marrow/, below {tmp_path}" in result.output
    assert isinstance(result.exception, SettingsError)  # nothing is there yet


def test_a_complete_dataset_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, Download(url="https://example.org/set.zip", name="set.zip"), count=5)
    write_folder(pbc_files(5), tmp_path / PUBLISHED)
    (tmp_path / "set.zip").write_bytes(b"as fetched before")
    result = called("pbc", tmp_path)
    assert result.exit_code == 0, result.output
    assert "was there; no checksum is known, its sha256 is " in result.output
    assert result.output.endswith("15 cells in 3 classes, as published\n")


def test_a_dataset_with_other_numbers_than_the_published_is_named_class_by_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, count=5)
    files = pbc_files(5)
    del files["neutrophil/NE_1.jpg"]
    write_folder({**files, "platelet/PLATELET_99.jpg": files["platelet/PL_1.jpg"]}, tmp_path / PUBLISHED)
    result = called("pbc", tmp_path)
    assert "not the published set: neutrophil 4 of 5, platelet 6 of 5" in str(result.exception)


def test_a_damaged_file_is_never_counted_as_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, Download(url="https://example.org/set.zip", name="set.zip", checksum="md5:" + 32 * "0"), count=5)
    write_folder(pbc_files(5), tmp_path / PUBLISHED)
    (tmp_path / "set.zip").write_bytes(b"damaged")
    result = called("pbc", tmp_path)
    assert "set.zip was damaged or is another file" in str(result.exception)
    assert "cells in" not in result.output
