"""Which engine `auto` takes by what was measured: real engines on a real model, and rankings that no longer hold."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import called
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle

from edgecell import app, automatic, ranking
from edgecell.bundle import Bundle
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.engines.trt import driver
from edgecell.errors import EngineError
from edgecell.messages import NOTICE
from edgecell.prepare import contest
from edgecell.protocols import Engine
from edgecell.ranking import Candidate, Ranking, Setup
from edgecell.settings import PartSettings, Settings

AUTO = PartSettings(part="auto")


class Wrong(OnnxRuntimeEngine):
    """It would be the fastest."""

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return {name: value + 9 * (name == "logits") for name, value in super().infer(batch).items()}


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")
    return tmp_path / "cache" / "edgecell" / "plans"


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by the beginning of an engine's description, as if they had been measured; 9 for what is not named."""
    told: dict[str, float] = {}

    def medians(engines: Sequence[Engine], shapes: Sequence[tuple[int, ...]]) -> list[dict[int, float]]:
        return [{shape[0]: _time(each.description, told) for shape in shapes} for each in engines]

    monkeypatch.setattr(contest, "medians_ms", medians)
    return told


def _time(description: str, told: dict[str, float]) -> float:
    return next((ms for words, ms in told.items() if all(word in description for word in words.split())), 9.0)


def with_engine(monkeypatch: pytest.MonkeyPatch, name: str, part: str) -> None:
    monkeypatch.setattr(app, "TABLES", {**app.TABLES, "engine": {**app.TABLES["engine"], name: f"{__name__}:{part}"}})


def compared(bundle: Bundle, cache: Path) -> Ranking:
    return contest.compare(bundle, cache, lambda what, progress: None)


def taken(bundle: Bundle) -> tuple[str, Any, str]:
    chosen = app.engines_for(AUTO, {"nucleated": bundle})["nucleated"]
    return chosen.name, chosen.options, chosen.why


def candidate(engine: str, ms: float, **more: Any) -> Candidate:
    return Candidate(**{"engine": engine, "encoding": "u8s8", "verdict": "passed", "p50_ms": {4: ms}, **more})


def ranked(*candidates: Candidate) -> str:
    setup = Setup(bundle_sha256="0" * 64, processor="any", cores=2, engines={})
    found = Ranking(setup=setup, bundle="tiny", batch=4, candidates=candidates, edgecell="1", utc="now")
    return "none" if found.used is None else f"{found.used.engine} {found.used.encoding}"


def test_the_fastest_is_taken_where_it_is_clearly_faster() -> None:
    assert ranked(candidate("onnxrt", 10), candidate("openvino", 9)) == "openvino u8s8"
    assert ranked(candidate("openvino", 9.6), candidate("onnxrt", 10)) == "onnxrt u8s8"
    assert ranked(candidate("trt", 10), candidate("onnxrt", 9.8), candidate("openvino", 9.6)) == "trt u8s8"
    whole = {"encoding": "float", "options": {"encoding": "float"}}
    assert ranked(candidate("onnxrt", 10), candidate("onnxrt", 9.7, **whole)) == "onnxrt u8s8"
    assert ranked(candidate("onnxrt", 10), candidate("onnxrt", 5, **whole)) == "onnxrt float"


def test_what_is_wrong_or_does_not_run_is_never_taken() -> None:
    assert ranked(candidate("openvino", 1, verdict="refused"), candidate("onnxrt", 10)) == "onnxrt u8s8"
    assert ranked(candidate("openvino", 1, verdict="failed", p50_ms={})) == "none"


def test_runs_take_what_was_found_fastest(tiny: Bundle, cache: Path, times: dict[str, float]) -> None:
    pytest.importorskip("openvino")
    assert taken(tiny)[0] == "onnxrt"
    times |= {"openvino INT8": 1.0, "onnxruntime": 2.0}
    found = compared(tiny, cache)
    assert [(each.engine, each.encoding, each.verdict) for each in found.candidates] == [
        ("trt", "", "failed"),
        ("onnxrt", "u8s8", "passed"),
        ("openvino", "u8s8", "passed"),
        ("onnxrt", "float", "passed"),
        ("openvino", "float", "passed"),
    ]
    assert taken(tiny) == (
        "openvino",
        app.choose("engine", PartSettings(part="openvino")).options,
        "1.0 ms a batch of 4 with u8s8, of 4 compared here",
    )
    with app.opened(tiny, app.engines_for(AUTO, {"nucleated": tiny})["nucleated"]) as engine:
        assert engine.description.startswith("openvino ")


def test_the_float_model_is_taken_where_int8_is_slower(tiny: Bundle, cache: Path, times: dict[str, float]) -> None:
    times |= {"openvino float32": 3.0, "onnxruntime": 4.0}
    compared(tiny, cache)
    name, options, _ = taken(tiny)
    if name == "openvino":
        assert options.encoding == "float"
    else:
        pytest.importorskip("openvino")


def test_a_fast_engine_that_answers_wrongly_is_refused(
    tiny: Bundle, cache: Path, times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_engine(monkeypatch, "openvino", "Wrong")
    found = compared(tiny, cache)
    (wrong, *_) = [each for each in found.candidates if each.engine == "openvino"]
    assert (wrong.verdict, "golden cell" in wrong.why, wrong.p50_ms) == ("refused", True, {})
    assert taken(tiny)[0] == "onnxrt"


def test_where_none_answers_as_certified_it_is_said_at_the_next_run(
    tiny: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxrt", "openvino"):
        with_engine(monkeypatch, name, "Wrong")
    assert compared(tiny, cache).used is None
    name, _, why = taken(tiny)
    assert (name, why) == ("onnxrt", "none of the engines here answers as certified for tiny")


def test_where_none_answers_as_certified_the_command_fails(tiny: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxrt", "openvino"):
        with_engine(monkeypatch, name, "Wrong")
    ended = called("prepare", tiny.path)
    assert ended.code == 6
    assert "refused: " in ended.out
    assert "none of the engines here answers as certified for tiny" in ended.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engines": {"onnxrt": "1.0"}}, "onnxrt 1.0, here is "),
        ({"cores": 99}, "cores 99, here is "),
        ({"processor": "Another"}, "the processor Another, here is "),
    ],
)
def test_after_a_change_of_machine_it_no_longer_holds(
    tiny: Bundle, cache: Path, times: dict[str, float], change: dict[str, Any], said: str
) -> None:
    times |= {"onnxruntime": 9.0, "openvino": 1.0}
    found = compared(tiny, cache)
    for path in cache.glob("engines-*.json"):
        path.unlink()
    ranking.store(msgspec.structs.replace(found, setup=msgspec.structs.replace(found.setup, **change)), cache)
    chosen = app.engines_for(AUTO, {"nucleated": tiny})["nucleated"]
    assert chosen.name == "onnxrt"
    assert chosen.why.startswith("engines were compared for tiny with ")
    assert said in chosen.why
    assert chosen.fix == f"edgecell prepare {tiny.path}"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": "engines/1"}', b"\xff\xfe"])
def test_a_damaged_ranking_is_told_and_not_believed(tiny: Bundle, cache: Path, times: Any, content: bytes) -> None:
    compared(tiny, cache)
    (path,) = cache.glob("engines-*.json")
    path.write_bytes(content)
    chosen = app.engines_for(AUTO, {"nucleated": tiny})["nucleated"]
    assert (chosen.name, f"{path} cannot be read" in chosen.why, chosen.fix) == (
        "onnxrt",
        True,
        f"edgecell prepare {tiny.path}",
    )


def test_a_ranking_of_another_bundle_under_its_name_is_not_believed(tiny: Bundle, cache: Path, times: Any) -> None:
    found = compared(tiny, cache)
    (path,) = cache.glob("engines-*.json")
    other = msgspec.structs.replace(found, setup=msgspec.structs.replace(found.setup, cores=99))
    path.write_bytes(msgspec.json.encode(other))
    with pytest.raises(EngineError, match="is no ranking of this bundle and machine"):
        ranking.find(tiny, found.setup, cache)


def test_without_one_of_the_engines_it_no_longer_holds(
    tiny: Bundle, cache: Path, times: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared(tiny, cache)
    monkeypatch.setattr(OnnxRuntimeEngine, "installed", classmethod(lambda cls: "2.0.0"))
    assert "onnxrt " in taken(tiny)[2]
    assert ", here is 2.0.0" in taken(tiny)[2]


def test_the_command_compares_and_doctor_and_check_tell(tiny: Bundle, cache: Path, times: Any, tmp_path: Path) -> None:
    times |= {"onnxruntime": 1.5}
    ended = called("prepare", tiny.path)
    assert ended.code == 0, ended.err
    assert "runs with --engine auto take onnxrt with u8s8: onnxruntime " in ended.out
    assert ended.out.endswith(f"{NOTICE}\n")
    (tmp_path / "tiny.toml").write_text(f'[models]\nnucleated = "{tiny.path}"\n[segmenter]\npart = "stain"\n')
    checked = called("check", tmp_path / "tiny.toml")
    assert "here onnxrt for nucleated, 1.5 ms a batch of 4 with u8s8, of " in " ".join(checked.out.split())
    assert called("prepare", "bloodmnist28").code == 0
    told = {each["subject"]: each for each in json.loads(called("doctor", "--json").out)["engines"]}
    assert told["engines of bloodmnist28"]["has"].startswith("onnxrt u8s8 1.5 ms (used by auto)")
    assert told["engines of pbc8"]["lacks"] == "engines were not compared for pbc8 here: edgecell prepare pbc8"


def test_a_choice_that_was_made_is_told_once(tiny: Bundle, cache: Path, times: Any, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino")
    times |= {"openvino INT8": 1.0}
    compared(tiny, cache)
    settings = Settings(models={"nucleated": str(tiny.path)}, segmenter=PartSettings(part="stain"))
    with caplog.at_level(logging.INFO), app.plan(settings).recogniser():
        pass
    told = [each.getMessage() for each in caplog.records]
    assert told == ["engine openvino for tiny: 1.0 ms a batch of 4 with u8s8, of 4 compared here"]


def test_versions_are_those_of_the_probes() -> None:
    found = automatic.installed(app.engine_classes())
    for name, part in app.engine_classes().items():
        probe = part.probe()
        assert found.get(name, "") == (probe.version if probe.usable else "")
