"""A bundle of another specimen and other classes than blood's: what it says of its classes is all that any command goes by."""

from pathlib import Path

import msgspec
import pytest
from command_line import called
from pictures import PIXEL_UM, encoded, write_fields
from tiny_bundle import certified, make_tiny_bundle, tiny_crops, tiny_manifest

from edgecell.bundle import CellClass, Group

NAMES = ("macrophage", "ciliated_cell", "debris")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle under other names; every cell of it is decided."""
    folder = tmp_path_factory.mktemp("other") / "balf"
    make_tiny_bundle(folder)
    groups: tuple[Group, ...] = ("other", "epithelial", "other")
    classes = tuple(
        CellClass(name=name, abbreviation="", group=group, in_differential=group == "other")
        for name, group in zip(NAMES, groups, strict=True)
    )
    manifest = tiny_manifest()
    sure = msgspec.structs.replace(manifest.confidence, unsure_below=0.0)
    certified(folder, msgspec.structs.replace(manifest, name="balf", specimen="balf", classes=classes, confidence=sure))
    return folder


def test_classify(bundle: Path, tmp_path: Path) -> None:
    for number, crop in enumerate(tiny_crops(30)):
        (tmp_path / f"{number}.png").write_bytes(encoded(".png", crop[..., ::-1]))
    ended = called("classify", tmp_path, "--bundle", bundle, "--json", "--pixel-um", 0.5)
    assert ended.code == 0, ended.err
    assert {line["label"] for line in ended.documents} <= set(NAMES)
    assert all(tuple(line["probabilities"]) == NAMES for line in ended.documents)
    assert "class" in called("classify", tmp_path, "--bundle", bundle, "--pixel-um", 0.5).out


def test_count(bundle: Path, tmp_path: Path) -> None:
    write_fields(tmp_path, 2)
    *_, total = called("count", tmp_path, "--bundle", bundle, "--json", "--pixel-um", PIXEL_UM).documents
    counts = {name: count for name, count in total["counts"].items() if name in NAMES}
    assert sum(counts.values()) > 0
    assert total["differential"]["n"] == sum(counts.get(name, 0) for name in (NAMES[0], NAMES[2]))
    assert total["differential"]["erythroblasts_per_100"] is None
    shown = called("count", tmp_path, "--bundle", bundle, "--pixel-um", PIXEL_UM, "--overlay", tmp_path / "out").out
    assert f"Differential of {total['differential']['n']} decided cells" in shown


def test_run(bundle: Path) -> None:
    ended = called("run", "--bundle", bundle, "--max-frames", 3, "--json", "--publish", "tcp://127.0.0.1:*")
    assert ended.code == 0, ended.err
    *messages, outcome = ended.documents
    assert messages[-1]["models"][0]["name"] == "balf"
    assert sum(messages[-1]["cumulative"].get(name, 0) for name in NAMES) > 0
    assert outcome["labelled_right"] is None  # the phantom draws no such cells, so nothing was compared
    assert outcome["decided"] == 1.0
