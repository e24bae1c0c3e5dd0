"""What every engine in TABLE must do. An engine whose probe says it cannot run here is skipped, with what is missing.

TensorRT's runs on stand-ins for the vendor's libraries and for the device: they compute what ONNX Runtime computes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle, tiny_crops
from trt_stand_in_plan import store_plan

from edgecell import plugins
from edgecell.bundle import Bundle, Encoding
from edgecell.engines import TABLE
from edgecell.errors import EngineBuildError, EngineError, InferenceError
from edgecell.golden import replay
from edgecell.preprocess import to_batch
from edgecell.protocols import Engine, Pending


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("engines"))


@pytest.fixture(params=sorted(TABLE))
def part(request: pytest.FixtureRequest, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "trt":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        request.getfixturevalue("stand_in_machine")
        request.getfixturevalue("gpu")
        store_plan(tiny, "s8s8")
    found = plugins.load("engine", TABLE, request.param)
    probe = found.probe()
    if not probe.usable:
        pytest.skip(f"engine {request.param}: {probe.missing}")
    assert probe.version
    assert probe.missing == ""
    return found


@pytest.fixture
def engine(part: Any, tiny: Bundle) -> Iterator[Engine]:
    with part(model_of(part, tiny), manifest=tiny.manifest) as opened:
        yield opened


@pytest.fixture(scope="module")
def batch(tiny: Bundle) -> NDArray[np.float32]:
    return to_batch(tiny_crops(tiny.manifest.input.batch.max), tiny.manifest.preprocess)


def model_of(part: Any, bundle: Bundle) -> Path:
    return bundle.file(f"{encoding_of(part, bundle)}.onnx")


def encoding_of(part: Any, bundle: Bundle) -> Encoding:
    encoding: Encoding = part.encoding_of(bundle, part.Options())
    return encoding


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_outputs_are_those_of_the_manifest(engine: Engine, tiny: Bundle, batch: NDArray[np.float32], count: int) -> None:
    outputs = engine.infer(batch[:count])
    assert {name: value.shape for name, value in outputs.items()} == {
        each.name: (count, *each.shape) for each in tiny.manifest.outputs
    }
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in outputs.values())


def test_golden_cells_are_answered_as_certified(part: Any, engine: Engine, tiny: Bundle) -> None:
    assert replay(tiny, engine, encoding_of(part, tiny)).cells > 0


def test_batches_that_overlap_are_answered_each_by_itself(engine: Any, batch: NDArray[np.float32]) -> None:
    if not hasattr(engine, "submit"):
        pytest.skip("it does not overlap batches")
    expected = [engine.infer(batch[at : at + 2])["logits"] for at in range(0, 8, 2)]
    pendings: list[Pending] = []
    for at in range(0, 8, 2):
        given = batch[at : at + 2].copy()
        pendings.append(engine.submit(given))
        given[:] = 0
    for pending, answer in reversed(list(zip(pendings, expected, strict=True))):
        np.testing.assert_allclose(pending.result()["logits"], answer, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(pending.result()["logits"], pending.result()["logits"])


def test_a_cell_is_answered_alike_alone_and_in_a_batch(engine: Engine, batch: NDArray[np.float32]) -> None:
    together = engine.infer(batch)["logits"]
    alone = np.concatenate([engine.infer(batch[at : at + 1])["logits"] for at in range(len(batch))])
    assert len(np.unique(together.round(3), axis=0)) == len(batch)
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4)


def test_the_caller_owns_outputs_and_batch(engine: Engine, batch: NDArray[np.float32]) -> None:
    given = batch[:4].copy()
    first = engine.infer(given)["logits"]
    kept = first.copy()
    np.testing.assert_array_equal(given, batch[:4])
    second = engine.infer(batch[4:])["logits"]
    assert not np.array_equal(second, kept)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(engine.infer(given)["logits"], kept)


@pytest.mark.parametrize("shape", [(2, 3, 31, 32), (2, 1, 32, 32), (3, 32, 32)])
def test_a_wrong_shape_is_an_inference_error_with_a_fix(engine: Engine, shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceError, match="Fix: "):
        engine.infer(np.zeros(shape, dtype=np.float32))


def test_an_engine_goes_on_after_an_error(engine: Engine, batch: NDArray[np.float32]) -> None:
    with pytest.raises(InferenceError):
        engine.infer(np.zeros((1, 3, 5, 5), dtype=np.float32))
    assert engine.infer(batch[:1])["logits"].shape == (1, 3)


def test_it_answers_only_while_open(part: Any, tiny: Bundle, batch: NDArray[np.float32]) -> None:
    engine = part(model_of(part, tiny), manifest=tiny.manifest)
    with pytest.raises(InferenceError, match="not open"):
        engine.infer(batch)
    with engine:
        engine.infer(batch)
    with pytest.raises(InferenceError, match="not open"):
        engine.infer(batch)


def test_it_can_be_opened_again(part: Any, tiny: Bundle, batch: NDArray[np.float32]) -> None:
    engine = part(model_of(part, tiny), manifest=tiny.manifest)
    answers = []
    for _ in range(2):
        with engine:
            answers.append(engine.infer(batch)["logits"])
    np.testing.assert_array_equal(*answers)


def test_closing_it_once_more_harms_nothing(part: Any, tiny: Bundle) -> None:
    """One that could not be opened again is closed by whoever had opened it first."""
    with part(model_of(part, tiny), manifest=tiny.manifest) as opened:
        opened.__exit__(None, None, None)


def test_construction_touches_nothing(part: Any, tmp_path: Path) -> None:
    engine = part(tmp_path / "nowhere.onnx")
    with pytest.raises(EngineError, match=r"nowhere\.onnx"):
        engine.__enter__()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08\x12\x04cut"])
def test_a_file_that_is_no_model_is_a_build_error(part: Any, tmp_path: Path, content: bytes, capfd: Any) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(EngineBuildError, match=r"broken\.onnx.*Fix: "):
        part(tmp_path / "broken.onnx").__enter__()
    assert capfd.readouterr() == ("", "")


def test_a_model_of_another_manifest_is_refused(part: Any, tiny: Bundle) -> None:
    logits, features = tiny.manifest.outputs
    other = msgspec.structs.replace(tiny.manifest, outputs=(logits, msgspec.structs.replace(features, name="embedding")))
    with pytest.raises(EngineBuildError, match="embedding"):
        part(model_of(part, tiny), manifest=other).__enter__()


def test_only_the_manifests_outputs_are_computed(part: Any, tiny: Bundle, batch: NDArray[np.float32]) -> None:
    fewer = msgspec.structs.replace(tiny.manifest, outputs=tiny.manifest.outputs[:1])
    with part(model_of(part, tiny), manifest=fewer) as engine:
        assert list(engine.infer(batch)) == ["logits"]


def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.description
    assert "\n" not in engine.description
