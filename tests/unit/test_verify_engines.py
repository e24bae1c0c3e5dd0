"""`edgecell verify`: what two engines have in common, on real models and with a stand-in that is wrong in known places."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import called
from numpy.typing import NDArray
from pictures import encoded, write_fields
from tiny_bundle import CLASSES, make_tiny_bundle, tiny_crops

from edgecell import app
from edgecell.bundle import Bundle, open_bundle
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.messages import NOTICE
from edgecell.settings import engine_from_spec
from edgecell.verify.fields import matched
from edgecell.verify.result import CellsCompared, FieldsCompared
from edgecell.verify.verifying import verify

ONE, OTHER = engine_from_spec("onnxrt"), engine_from_spec("onnxrt:float")


class Wrong(OnnxRuntimeEngine):
    """A stand-in engine whose third answer of every batch is turned around, and whose fifth is not a number."""

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        outputs = {name: value.copy() for name, value in super().infer(batch).items()}
        outputs["logits"][2] *= -1
        outputs["features"][4:5, 0] = np.nan
        return outputs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("verify") / "tiny")


@pytest.fixture
def _wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**app.TABLES["engine"], "wrong": f"{__name__}:Wrong"}
    monkeypatch.setattr(app, "TABLES", {**app.TABLES, "engine": table})


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 cells: in a class's folder by name, in one by abbreviation, in one that is no class; and a damaged file."""
    folder = tmp_path_factory.mktemp("cells")
    for index, crop in enumerate(tiny_crops(24)):
        file = folder / ("neutrophil", "LYM", "others")[index % 3] / "deeper" / f"cell{index:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(".png", crop[..., ::-1]))
    (folder / "damaged.png").write_bytes(b"no image")
    return folder


def of_cells(found: object) -> CellsCompared:
    assert isinstance(found, CellsCompared)
    return found


def test_an_engine_agrees_with_itself_to_the_last_bit(tiny: Bundle, cells: Path) -> None:
    found = verify(tiny, ONE, ONE, cells, 0.5)
    assert (found.a.encoding, found.a) == ("u8s8", found.b)
    for each in map(of_cells, (found.golden, found.data)):
        assert each.agreement == 1.0
        assert each.agree == each.cells > 0
        assert {name: one.largest for name, one in each.deviation.items()} == {"logits": 0.0, "features": 0.0}
        assert (each.decided.only_a, each.decided.only_b, each.differing) == (0, 0, ())


@pytest.mark.parametrize("spec", ["onnxrt:u8s8", "onnxrt:s8s8", "onnxrt:encoding=s8s8,optimise=true,threads=2"])
def test_int8_deviates_from_float_and_says_where(tiny: Bundle, spec: str) -> None:
    found = of_cells(verify(tiny, engine_from_spec(spec), OTHER, None, None).golden)
    assert found.agreement == 1.0  # golden cells are those that all encodings are sure of
    worst = found.deviation["logits"]
    assert 0 < worst.largest < worst.spread
    assert worst.where.startswith("golden cell ")
    assert sum(each.cells for each in found.by_class.values()) == found.cells


@pytest.mark.usefixtures("_wrong")
def test_what_is_wrong_is_counted_and_named(tiny: Bundle, cells: Path) -> None:
    found = of_cells(verify(tiny, engine_from_spec("wrong"), ONE, cells, 0.5).data)
    assert (found.cells, found.unreadable) == (24, 1)
    assert (found.agree, found.agreement) == (21, 21 / 24)  # three batches of 8, the third cell of each
    assert sum(each.agree for each in found.by_class.values()) == 21
    files = sorted(cells.rglob("cell*.png"), key=lambda file: (file.parent.parent.name.lower(), file.name))
    assert {each.where for each in found.differing} == {str(files[at]) for at in (2, 10, 18)}
    assert found.deviation["logits"].where in {each.where for each in found.differing}
    assert found.deviation["features"].largest == np.inf
    assert found.deviation["features"].where in {str(files[at]) for at in (4, 12, 20)}
    right = {name: (each.cells, each.right_a, each.right_b) for name, each in found.labelled.items()}
    assert [of[0] for of in right.values()] == [8, 8]
    assert list(right) == ["neutrophil", "lymphocyte"]


@pytest.mark.usefixtures("_wrong")
def test_sides_are_not_exchanged(tiny: Bundle, cells: Path) -> None:
    one = of_cells(verify(tiny, engine_from_spec("wrong"), ONE, cells, 0.5).data)
    other = of_cells(verify(tiny, ONE, engine_from_spec("wrong"), cells, 0.5).data)
    assert (one.decided.only_a, one.decided.only_b) == (other.decided.only_b, other.decided.only_a)
    assert [(each.where, each.a, each.b) for each in one.differing] == [
        (each.where, each.b, each.a) for each in other.differing
    ]
    for name in one.labelled:
        assert (one.labelled[name].right_a, one.labelled[name].right_b) == (
            other.labelled[name].right_b,
            other.labelled[name].right_a,
        )


def test_a_segmenter_is_compared_by_its_maps_and_by_what_it_finds(tmp_path: Path) -> None:
    write_fields(tmp_path, 2)
    (tmp_path / "damaged.png").write_bytes(b"no image")
    bundle = open_bundle("cells3")
    found = verify(bundle, engine_from_spec("onnxrt:s8s8"), OTHER, tmp_path, None)
    assert isinstance(found.golden, FieldsCompared)
    assert isinstance(found.data, FieldsCompared)
    assert set(found.golden.maps) == {"kinds", "box", "inside"}
    shares = {name: each.same_sign for name, each in found.golden.maps.items()}
    assert shares.pop("box") is None
    assert all(share is not None and 0.99 < share < 1 for share in shares.values())
    assert all(0 < each.deviation.largest < each.deviation.spread for each in found.golden.maps.values())
    assert (found.data.fields, found.data.unreadable, found.data.maps) == (2, 1, {})
    for each in (found.golden, found.data):
        assert each.agreement > 0.9
        assert sum(kind.both for kind in each.found.values()) > 10
    same = verify(bundle, OTHER, OTHER, None, None).golden
    assert isinstance(same, FieldsCompared)
    assert (same.agreement, same.maps["kinds"].same_sign, same.maps["box"].deviation.largest) == (1.0, 1.0, 0.0)


def test_boxes_are_paired_once_and_the_most_alike_first() -> None:
    one = np.array([[0, 0, 10, 10], [100, 100, 110, 110], [50, 0, 60, 10]], np.float32)
    other = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [104, 100, 114, 110]], np.float32)
    assert matched(one, other) == 1  # 3/7 of the second pair in common: two cells
    assert matched(one, one) == 3
    assert matched(one, other[:0]) == matched(other[:0], one) == 0


def test_text_and_json_and_exit_codes(tiny: Bundle, cells: Path) -> None:
    ended = called("verify", "onnxrt", "onnxrt:float", "--bundle", tiny.path, "--data", cells, "--pixel-um", 0.5)
    assert ended.code == 0, ended.err
    for words in ("tiny 1.0.0", "A: u8s8.onnx on onnxruntime", "B: float.onnx", *CLASSES, "same top class", "B right", NOTICE):
        assert words in ended.out
    assert "damaged.png" in ended.err
    (document,) = called("verify", "onnxrt", "onnxrt:float", "--bundle", tiny.path, "--data", cells, "--json").documents
    assert (document["schema"], document["data"]["cells"], document["notice"]) == ("verification/1", 24, NOTICE)


@pytest.mark.usefixtures("_wrong")
@pytest.mark.parametrize(("share", "code"), [("0.5", 0), ("0.99", 4)])
def test_too_little_agreement_fails_where_that_is_asked(tiny: Bundle, share: str, code: int) -> None:
    ended = called("verify", "wrong", "onnxrt", "--bundle", tiny.path, "--at-least", share)
    assert ended.code == code
    assert "same top class" in ended.out
    assert ("wrong and onnxrt agree on " in ended.err) is (code == 4)
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("onnxrt", "nonsense"), 2, "unknown engine 'nonsense'"),
        (("onnxrt:int4", "onnxrt"), 2, "encoding"),
        (("onnxrt", "onnxrt:fp16"), 4, "has no fp16.onnx"),
        (("onnxrt", "onnxrt", "--data", "/no/such/folder"), 5, "no such file or folder"),
    ],
)
def test_mistakes_are_one_line(tiny: Bundle, arguments: tuple[str, ...], code: int, says: str) -> None:
    ended = called("verify", *arguments, "--bundle", tiny.path)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_folder_without_a_readable_image_is_an_error(tiny: Bundle, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"no image")
    for bundle in (tiny.path, "cells3"):
        ended = called("verify", "onnxrt", "onnxrt", "--bundle", bundle, "--data", tmp_path)
        assert ended.code == 5
        assert "no image could be read" in ended.err
