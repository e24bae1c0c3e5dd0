"""`edgecell prepare`, on the stand-ins for driver, TensorRT and device: what is built, kept, refused, and what is told."""

import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import called
from conftest import StandInMachine
from gpu_stand_in import Gpu
from numpy.typing import NDArray
from pictures import write_fields
from tiny_bundle import certified, make_tiny_bundle

from edgecell import app, clock
from edgecell.app import Chosen
from edgecell.bundle import Bundle, open_bundle
from edgecell.cli import prepare as command
from edgecell.engines.openvino import OpenVinoEngine
from edgecell.engines.trt import building, driver, library, plans
from edgecell.engines.trt.engine import TensorRtEngine
from edgecell.engines.trt.request import Progress
from edgecell.errors import BundleMismatch, EngineBuildError, EngineError, MissingDependency
from edgecell.messages import NOTICE
from edgecell.prepare import contest, preparing, timing
from edgecell.prepare.preparing import prepare
from edgecell.prepare.result import Prepared, Tried
from edgecell.protocols import Engine, Probe
from edgecell.settings import PartSettings
from edgecell.signature import ANY

COMPARED = 5 if OpenVinoEngine.probe().usable else 3
"""Engines with an encoding each: TensorRT, and the others with INT8 and with the float model."""


class Wrong(TensorRtEngine):
    """INT8 is wrong in one cell of a batch."""

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        outputs = super().infer(batch)
        if " int8, " in self.description:
            outputs["logits"][2:3] += 9
        return outputs


class AllWrong(TensorRtEngine):
    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        return {name: value * np.float32(1.5) for name, value in super().infer(batch).items()}


def here() -> plans.Machine:
    found = driver.look()
    return plans.machine_of(found, library.find(found))


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgecell" / "plans"


@pytest.fixture
def machine(stand_in_machine: StandInMachine, gpu: Gpu, cache: Path) -> StandInMachine:
    """When a test is over, nothing is left on the device."""
    return stand_in_machine


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    faster(monkeypatch, "int8")


def faster(patch: pytest.MonkeyPatch, precision: str) -> None:
    """Times as if `precision` were the faster one of both, and TensorRT the fastest of all: what could be timed here says
    nothing."""

    def medians(engines: Sequence[Engine], shapes: Sequence[tuple[int, ...]]) -> list[dict[int, float]]:
        return [{shape[0]: 1.0 if name == precision else 2.0 for shape in shapes} for name in ("int8", "fp16")[: len(engines)]]

    def of_all(engines: Sequence[Engine], shapes: Sequence[tuple[int, ...]]) -> list[dict[int, float]]:
        return [{shape[0]: 1.0 if "tensorrt" in each.description else 2.0 for shape in shapes} for each in engines]

    patch.setattr(preparing, "medians_ms", medians)
    patch.setattr(contest, "medians_ms", of_all)


def chosen(part: type[TensorRtEngine] = TensorRtEngine, **options: Any) -> Chosen:
    return Chosen(name="trt", part=part, options=part.Options(**options))


def prepared(bundle: Bundle, part: type[TensorRtEngine] = TensorRtEngine, *, force: bool = False, **options: Any) -> Prepared:
    return prepare(bundle, chosen(part, **options), force=force, tell=lambda what, progress: None)


def by_precision(done: Prepared) -> dict[str, Tried]:
    return {each.precision: each for each in done.tried}


def test_a_segmenter_is_timed_on_pictures_of_the_usual_size(machine: StandInMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[tuple[int, ...]] = []

    def medians(engines: Sequence[Engine], shapes: Sequence[tuple[int, ...]]) -> list[dict[int, float]]:
        timed.extend(shapes)
        return [{1: 1.0} for _ in engines]

    monkeypatch.setattr(preparing, "medians_ms", medians)
    bundle = open_bundle("cells3", ANY)
    prepared(bundle)
    assert {shape[2:] for shape in timed} == {bundle.manifest.input.usual}


@pytest.mark.parametrize(
    ("name", "version", "half"),
    [
        ("bloodmnist28", "8.6.1", "float"),
        ("bloodmnist28", "10.3.0", "float"),
        ("bloodmnist28", "10.16.1.11", "fp16"),
        ("bloodmnist28", "11.4.0.106", "fp16"),
        ("cells3", "10.3.0", "float"),
        ("cells3", "11.4.0.106", "fp16"),
    ],
)
def test_both_precisions_are_built_verified_and_kept(
    name: str, version: str, half: str, cache: Path, machine: StandInMachine
) -> None:
    machine.tensorrt(version)
    bundle = open_bundle(name)
    done = prepared(bundle)
    assert done.built
    assert (done.machine.tensorrt, done.machine.compute_capability, done.machine.driver) == (version, "8.7", "12.6")
    int8, fp16 = done.tried
    assert [(each.precision, each.encoding, each.verdict) for each in done.tried] == [
        ("int8", "s8s8", "used"),
        ("fp16", half, "kept"),
    ]
    for each in (int8, fp16):
        assert each.note == "new"
        assert each.build_s is not None
        assert each.deviation.keys() == each.tolerance.keys() == {output.name for output in bundle.manifest.outputs}
        assert all(value <= each.tolerance[output] for output, value in each.deviation.items())
    assert len(list(cache.glob("*.plan"))) == len(list(cache.glob("*.json"))) == 2
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
    record = plans.chosen(bundle, here(), cache)
    assert (record.key.precision, record.p50_ms[bundle.manifest.input.batch.opt]) == ("int8", 1.0)


def test_runs_take_the_faster_one(tiny: Bundle, cache: Path, machine: StandInMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    faster(monkeypatch, "fp16")
    done = prepared(tiny)
    assert [(each.precision, each.verdict) for each in done.tried] == [("int8", "kept"), ("fp16", "used")]
    assert TensorRtEngine.encoding_of(tiny, TensorRtEngine.Options()) == "float"
    assert TensorRtEngine.encoding_of(tiny, TensorRtEngine.Options(precision="int8")) == "s8s8"


def test_what_is_prepared_stays(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    first = prepared(tiny)
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = prepared(tiny)
    assert not again.built
    assert [each.note for each in again.tried] == ["already prepared"] * 2
    assert [msgspec.structs.replace(each, note="new") for each in again.tried] == list(first.tried)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    forced = prepared(tiny, force=True)
    assert [each.note for each in forced.tried] == ["built again, as asked for"] * 2


def test_after_an_upgrade_it_is_built_anew_and_told_why(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    prepared(tiny)
    machine.tensorrt("10.7.0")
    with pytest.raises(EngineError, match=r"prepared with TensorRT 10\.3\.0, this is 10\.7\.0"):
        TensorRtEngine.encoding_of(tiny, TensorRtEngine.Options())
    done = prepared(tiny)
    assert [each.note for each in done.tried] == [
        f"the {precision} plan of tiny was prepared with TensorRT 10.3.0, this is 10.7.0" for precision in ("int8", "fp16")
    ]
    assert len(list(cache.glob("*.plan"))) == 4
    machine.driver(sm=89)
    with pytest.raises(EngineError, match=r"compute capability 8\.7, this is 8\.9"):
        TensorRtEngine.encoding_of(tiny, TensorRtEngine.Options())


def test_a_corrupt_plan_is_built_anew_and_both_are_timed_again(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    prepared(tiny)
    (plan,) = cache.glob("int8-*.plan")
    whole = plan.read_bytes()
    plan.write_bytes(whole[:100])
    done = by_precision(prepared(tiny))
    assert done["int8"].note == f"plan {plan} is corrupt: it is not the one that its record lists"
    assert done["fp16"].note == "already prepared"
    assert plan.read_bytes()[:20] == whole[:20]
    assert plans.chosen(tiny, here(), cache, "int8").p50_ms


def test_wrong_answers_are_refused_and_remembered(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    done = by_precision(prepared(tiny, Wrong))
    assert (done["int8"].verdict, done["fp16"].verdict) == ("refused", "used")
    assert re.search(r"golden cell \d+ deviates by 9", done["int8"].why)
    assert list(cache.glob("int8-*.plan")) == []
    again = prepared(tiny, Wrong)
    assert not again.built
    assert by_precision(again)["int8"].verdict == "refused"
    assert Wrong.encoding_of(tiny, Wrong.Options()) == "float"
    with pytest.raises(EngineError, match=r"the int8 plan of tiny was refused: .*golden cell"):
        Wrong.encoding_of(tiny, Wrong.Options(precision="int8"))
    mended = by_precision(prepared(tiny, TensorRtEngine, force=True))
    assert mended["int8"].verdict == "used"


def test_where_no_plan_may_be_used_the_worst_cell_is_named(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    for _ in range(2):  # the second time from the cache
        with pytest.raises(
            BundleMismatch, match=r"no plan of tiny may be used: int8: .*golden cell \d+ deviates.*; fp16: .*golden cell \d+"
        ):
            prepared(tiny, AllWrong)


def test_one_precision_that_cannot_be_built_does_not_keep_the_other(
    tiny: Bundle, cache: Path, machine: StandInMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = building.build

    def failing(request: Any, *rest: Any, **named: Any) -> Any:
        if request.precision == "fp16":
            raise EngineBuildError("out of device memory", fix="close other programs")
        return build(request, *rest, **named)

    monkeypatch.setattr(building, "build", failing)
    done = by_precision(prepared(tiny))
    assert (done["int8"].verdict, done["fp16"].verdict) == ("used", "failed")
    assert (done["fp16"].why, done["fp16"].fix, done["fp16"].build_s) == ("out of device memory", "close other programs", None)
    monkeypatch.setattr(building, "build", build)
    assert by_precision(prepared(tiny))["fp16"].verdict == "kept"


def test_a_bundle_without_a_file_is_prepared_as_far_as_it_goes(tiny: Bundle, machine: StandInMachine) -> None:
    machine.tensorrt("10.16.1.11")  # which builds half precision from fp16.onnx; the tiny bundle has none
    done = by_precision(prepared(tiny))
    assert (done["int8"].verdict, done["fp16"].verdict) == ("used", "failed")
    assert (done["fp16"].why, done["fp16"].build_s) == ("the bundle has no fp16.onnx", None)
    (tiny.path / "s8s8.onnx").unlink()
    with pytest.raises(EngineBuildError, match=r"int8: the bundle has no s8s8\.onnx; fp16: the bundle has no fp16\.onnx"):
        prepared(certified(tiny.path, tiny.manifest))


@pytest.mark.parametrize("fault", ["parser", "memory", "abort"])
def test_where_nothing_can_be_built_it_is_a_build_error(tiny: Bundle, cache: Path, machine: StandInMachine, fault: str) -> None:
    machine.tensorrt("10.3.0", fault=fault)
    with pytest.raises(EngineBuildError, match=r"no plan of tiny may be used: int8: .*; fp16: .*Fix: "):
        prepared(tiny)
    assert list(cache.glob("*.plan")) == list(cache.glob("*.json")) == list(cache.glob(".*")) == []


def test_what_stops_it_leaves_nothing_behind(
    tiny: Bundle, cache: Path, machine: StandInMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "replay", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(tiny)
    assert [path for path in cache.iterdir() if not path.name.startswith("timing-")] == []


def test_the_settings_say_where_and_with_how_much(tiny: Bundle, tmp_path: Path, machine: StandInMachine) -> None:
    done = prepared(tiny, cache=tmp_path / "mine", workspace_mib=64)
    assert done.cache == str(tmp_path / "mine")
    (plan,) = (tmp_path / "mine").glob("int8-*.plan")
    facts = json.loads(plan.read_bytes().split(b"\n")[1])
    assert (facts["workspace"], facts["profile"]) == (64 << 20, {"input": [[1, 3, 32, 32], [4, 3, 32, 32], [8, 3, 32, 32]]})
    with pytest.raises(EngineError, match="there is no CUDA device 3"):
        prepared(tiny, device=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match=r"cannot write plans to .*Fix: name a folder"):
        prepared(tiny, cache=tmp_path / "file" / "plans")


def test_what_is_missing_is_found_before_anything_is_built(
    tiny: Bundle, cache: Path, machine: StandInMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TensorRtEngine, "probe", lambda: Probe(usable=False, version="", missing="no CUDA binding: pip install it")
    )
    with pytest.raises(MissingDependency, match=r"TensorRT 10\.3\.0 is there, but cannot be used: no CUDA binding"):
        prepared(tiny)
    machine.tensorrt("8.5.2")
    with pytest.raises(EngineError, match=r"8\.5\.2"):
        prepared(tiny)
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")
    with pytest.raises(MissingDependency, match="no NVIDIA driver"):
        prepared(tiny)
    assert not cache.exists()


class Takes:
    """A stand-in engine whose inference takes `ms` on a clock that only it moves."""

    description = "stand-in"

    def __init__(self, ms: Callable[[int], float], now: list[int], calls: list["Takes"]) -> None:
        self._ms, self._now, self._calls, self._count = ms, now, calls, 0

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        self._now[0] += round(self._ms(self._count) * len(batch) * 1e6)
        self._count += 1
        self._calls.append(self)
        return {}


def test_medians_are_of_runs_in_turns_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0], list[Takes]()
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    slow_at_first = Takes(lambda count: 50.0 if count % (timing.WARM_UP + timing.ROUNDS) < timing.WARM_UP else 2.0, now, calls)
    steady = Takes(lambda count: 3.0, now, calls)
    engines: Any = [slow_at_first, steady]
    assert timing.medians_ms(engines, [(1, 3, 8, 8), (4, 3, 8, 8)]) == [{1: 2.0, 4: 8.0}, {1: 3.0, 4: 12.0}]
    pairs = [calls[at : at + 2] for at in range(0, len(calls), 2)]
    assert all({id(each) for each in pair} == {id(slow_at_first), id(steady)} for pair in pairs)
    firsts = sum(pair[0] is steady for pair in pairs)
    assert 0.3 < firsts / len(pairs) < 0.7
    assert timing.medians_ms([], [(1, 3, 8, 8)]) == []


def test_slow_models_are_timed_fewer_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0], list[Takes]()
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    engines: Any = [Takes(lambda count: 1000.0, now, calls), Takes(lambda count: 3000.0, now, calls)]
    assert timing.medians_ms(engines, [(1, 3, 8, 8)]) == [{1: 1000.0}, {1: 3000.0}]
    assert len(calls) == 2 * 2 * timing.LEAST


def test_the_command_says_what_it_did(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    ended = called("prepare", tiny.path)
    assert ended.code == 0, ended.err
    for words in (
        "tiny 1.0.0 prepared: TensorRT 10.3.0 on",
        "used: the faster that passed",
        "passed, slower",
        "runs on TensorRT take int8",
        "tiny: engines compared on ",
        "runs with --engine auto take trt with s8s8: tensorrt 10.3.0 int8, ",
        NOTICE,
    ):
        assert words in ended.out
    for words in ("tiny int8: ", "tiny fp16: replaying the golden cells", "tiny: timing"):
        assert words in ended.err
    again = called("prepare", tiny.path)
    assert "tiny 1.0.0 already prepared: TensorRT 10.3.0 on" in again.out
    assert "int8" not in again.err
    document, ranking = called("prepare", tiny.path, "--json").documents
    assert (ranking["schema"], ranking["bundle"], ranking["notice"]) == ("engines/1", "tiny", NOTICE)
    assert (document["schema"], document["built"], document["notice"]) == ("preparation/1", False, NOTICE)
    assert document["machine"]["tensorrt"] == "10.3.0"
    assert [each["verdict"] for each in document["tried"]] == ["used", "kept"]
    assert set(document["tried"][0]["p50_ms"]) == {"1", "4"}


def test_runs_find_what_the_command_prepared(tiny: Bundle, cache: Path, machine: StandInMachine) -> None:
    asked = PartSettings(part="auto")
    assert app.engines_for(asked, {"nucleated": tiny})["nucleated"].name == "onnxrt"
    assert called("prepare", tiny.path).code == 0
    chosen = app.engines_for(asked, {"nucleated": tiny})["nucleated"]
    assert (chosen.name, chosen.why) == ("trt", f"1.0 ms a batch of 4 with s8s8, of {COMPARED} compared here")
    with app.opened(tiny, chosen):
        pass


def test_settings_stand_for_the_bundles_that_they_name(
    tiny: Bundle, tmp_path: Path, cache: Path, machine: StandInMachine
) -> None:
    other = make_tiny_bundle(tmp_path / "other")
    certified(other.path, msgspec.structs.replace(other.manifest, version="2.0.0"))
    text = '[models]\nnucleated = "./tiny"\nred_blood_cell = "./other"\n[segmenter]\npart = "stain"\n'
    (tmp_path / "bench.toml").write_text(text + '[engine]\npart = "trt"\ncache = "plans"\n')
    done = called("prepare", tmp_path / "bench.toml", tmp_path / "bench.toml", "--json").documents
    assert [each["version"] for each in done] == ["1.0.0", "2.0.0"]
    assert {each["cache"] for each in done} == {str(tmp_path / "plans")}
    assert [each["built"] for each in done] == [True, False]  # of the same models


def test_a_bundle_that_fails_does_not_keep_the_others(
    tiny: Bundle, tmp_path: Path, cache: Path, machine: StandInMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = make_tiny_bundle(tmp_path / "broken")
    for name in ("s8s8", "float"):
        (broken.path / f"{name}.onnx").write_bytes(b"no model")
    certified(broken.path, broken.manifest)
    ended = called("prepare", broken.path, tiny.path)
    assert ended.code == 6
    assert "runs on TensorRT take int8" in ended.out
    assert ended.out.count("runs with --engine auto take ") == 2
    assert ended.err.splitlines()[-1].startswith("edgecell: error: no plan of tiny may be used: int8: ")
    assert "Traceback" not in ended.err


def test_without_a_driver_it_is_one_line_where_tensorrt_is_asked_for(
    tmp_path: Path, tiny: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")
    (tmp_path / "trt.toml").write_text(
        '[models]\nnucleated = "./tiny"\n[segmenter]\npart = "stain"\n[engine]\npart = "trt"\n', encoding="utf-8"
    )
    ended = called("prepare", tmp_path / "trt.toml")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("edgecell: error: no NVIDIA driver")
    assert len(ended.err.splitlines()) == 1


def test_without_a_driver_the_other_engines_are_compared(tiny: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")
    (document,) = called("prepare", tiny.path, "--json").documents
    assert document["schema"] == "engines/1"
    verdicts = {(each["engine"], each["encoding"]): each["verdict"] for each in document["candidates"]}
    assert verdicts["trt", ""] == "failed"
    assert verdicts["onnxrt", "u8s8"] == verdicts["onnxrt", "float"] == "passed"
    (trt,) = [each for each in document["candidates"] if each["engine"] == "trt"]
    assert trt["why"].startswith("no NVIDIA driver")


def test_an_export_is_the_same_every_time_and_prepares_elsewhere(
    tiny: Bundle, tmp_path: Path, cache: Path, machine: StandInMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called("prepare", tiny.path).code == 0
    ended = called("prepare", tiny.path, "bloodmnist28", "--offline-export", tmp_path / "one.zip")
    assert ended.code == 0, ended.err
    assert called("prepare", tiny.path, "bloodmnist28", "--offline-export", tmp_path / "two.zip").code == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ended.out.splitlines()
        packed.extractall(tmp_path / "unpacked")
    readme = (tmp_path / "unpacked" / "README.txt").read_text()
    assert "edgecell prepare ./unpacked" in readme
    assert NOTICE in readme
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "device"))
    done = called("prepare", tmp_path / "unpacked", "--json").documents
    plans_of = [each for each in done if each["schema"] == "preparation/1"]
    assert [(each["bundle"], each["built"]) for each in plans_of] == [("bloodmnist28", True), ("tiny", True)]
    assert {each["cache"] for each in plans_of} == {str(tmp_path / "device" / "edgecell" / "plans")}
    (timing_cache,) = (tmp_path / "device").rglob("timing-*.cache")
    assert timing_cache.name == next(cache.glob("timing-*.cache")).name
    assert app.engines_for(PartSettings(part="auto"), {"nucleated": open_bundle("bloodmnist28")})["nucleated"].name == "trt"


def test_an_export_needs_no_device_and_its_mistakes_are_one_line(
    tiny: Bundle, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libnowhere.so.1")
    (told,) = called("prepare", tiny.path, "--offline-export", tmp_path / "out.zip", "--json").documents
    assert told["file"] == str(tmp_path / "out.zip")
    assert "bundles/tiny/s8s8.onnx" in told["content"]
    other = make_tiny_bundle(tmp_path / "other")
    certified(other.path, msgspec.structs.replace(other.manifest, version="2.0.0"))
    twice = called("prepare", tiny.path, other.path, "--offline-export", tmp_path / "out.zip")
    assert (twice.code, "two bundles have one name" in twice.err) == (2, True)
    nowhere = called("prepare", tiny.path, "--offline-export", tmp_path / "no" / "out.zip")
    assert (nowhere.code, "No such file" in nowhere.err) == (2, True)
    (tmp_path / "none.toml").write_text("[models]\n[segmenter]\npart = 'stain'\n")
    none = called("prepare", tmp_path / "none.toml")
    assert (none.code, "names no bundle" in none.err) == (2, True)


def test_a_run_takes_the_plan_says_so_and_does_not_change_engine(tiny: Bundle, tmp_path: Path, machine: StandInMachine) -> None:
    write_fields(tmp_path / "fields", 1)
    given = ("count", tmp_path / "fields", "--bundle", tiny.path, "--segmenter", "stain", "--json")
    before = called(*given)
    assert "engine onnxrt for tiny: tiny has no int8 plan on this device (edgecell prepare " in before.err
    assert called("prepare", tiny.path).code == 0
    ended = called(*given)
    why = f"1.0 ms a batch of 4 with s8s8, of {COMPARED} compared here"
    assert f"engine trt for tiny: {why}" in ended.err
    (model,) = ended.documents[-1]["models"]
    assert model["engine"].startswith("tensorrt 10.3.0 int8, ")
    assert model["engine"].endswith(f"(auto: {why})")
    asked = called(*given, "--engine", "trt:fp16")
    assert asked.documents[-1]["models"][0]["engine"].startswith("tensorrt 10.3.0 fp16, ")
    assert asked.documents[-1]["counts"].keys() == before.documents[-1]["counts"].keys()
    machine.tensorrt("11.4.0.106")
    stale = called(*given, "--engine", "trt")
    assert (stale.code, stale.out) == (6, "")
    assert "was prepared with TensorRT 10.3.0, this is 11.4.0.106. Fix: edgecell prepare " in stale.err


def test_a_plan_that_was_tampered_with_is_not_run(tiny: Bundle, tmp_path: Path, cache: Path, machine: StandInMachine) -> None:
    write_fields(tmp_path / "fields", 1)
    assert called("prepare", tiny.path).code == 0
    for plan in cache.glob("*.plan"):
        plan.write_bytes(plan.read_bytes() + b"x")
    given = ("count", tmp_path / "fields", "--bundle", tiny.path, "--segmenter", "stain")
    ended = called(*given, "--engine", "trt")
    assert (ended.code, "is corrupt: it is not the one that its record lists" in ended.err) == (6, True)
    fallen_back = called(*given)
    assert fallen_back.code == 0
    assert "engine onnxrt for tiny: plan " in fallen_back.err
    assert "is corrupt" in fallen_back.err


def test_plans_are_compared_and_timed_by_the_other_commands(tiny: Bundle, tmp_path: Path, machine: StandInMachine) -> None:
    assert called("prepare", tiny.path).code == 0
    (document,) = called("verify", "trt", "onnxrt:float", "--bundle", tiny.path, "--json").documents
    assert (document["a"]["encoding"], document["b"]["encoding"]) == ("s8s8", "float")
    assert document["a"]["engine"].startswith("tensorrt 10.3.0 int8")
    assert document["golden"]["agreement"] == 1.0
    same = called("verify", "trt:fp16", "onnxrt:float", "--bundle", tiny.path, "--json").documents[0]["golden"]
    assert same["deviation"]["logits"]["largest"] < document["golden"]["deviation"]["logits"]["largest"]
    (tmp_path / "bench.toml").write_text(
        '[models]\nnucleated = "./tiny"\n[segmenter]\npart = "stain"\n[source]\nwidth = 320\nheight = 240\n'
    )
    bench = called("bench", "--settings", tmp_path / "bench.toml", "--frames", 2, "--warmup", 1, "--engine", "trt", "--json")
    assert bench.code == 0, bench.err
    assert bench.documents[0]["threads"]["engines"][0].startswith("tensorrt 10.3.0 int8")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with command._progress() as tell:
        for second in range(3):
            tell("pbc8 int8", Progress(elapsed_s=second, phase="building", step=second, steps=3))
    assert "pbc8 int8: building 2/3, 2 s" in terminal.getvalue()  # the last one is drawn when it is over, at the latest


def test_lines_come_with_every_phase_and_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    with command._progress() as tell:
        for second in range(25):
            now[0] = second * 1_000_000_000
            tell("pbc8 int8", Progress(elapsed_s=second, phase="building" if second < 22 else "writing"))
    assert capsys.readouterr().err.splitlines() == [
        f"pbc8 int8: {what} s" for what in ("building, 0", "building, 10", "building, 20", "writing, 22")
    ]
