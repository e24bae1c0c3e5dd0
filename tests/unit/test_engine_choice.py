"""Which engine runs a bundle: the one asked for, or what `auto` finds, with its reason, and never another one later."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle, tiny_crops

from edgecell import app
from edgecell.bundle import Bundle, Encoding
from edgecell.cli import check, cli
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.errors import EngineError, InferenceError, MissingDependency, SettingsError
from edgecell.protocols import Probe
from edgecell.settings import PartSettings, Settings


class Accelerator(OnnxRuntimeEngine):
    """A stand-in for the engine that must be prepared first; it computes `s8s8` on ONNX Runtime."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        precision: str | None = None

    lacking = ""
    found = ""
    unprepared: tuple[str, ...] = ()
    fails = False

    def __init__(self, model: Path, *, manifest: Any = None, options: Any = None) -> None:
        super().__init__(model, manifest=manifest, options=OnnxRuntimeEngine.Options(encoding="s8s8"))

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=not cls.lacking, version=cls.found if cls.lacking else "1", missing=cls.lacking)

    @classmethod
    def encoding_of(cls, bundle: Bundle, options: Any) -> Encoding:
        if cls.lacking:
            raise MissingDependency(cls.lacking, fix="buy one")
        if bundle.path.name in cls.unprepared:
            raise EngineError(f"{bundle.path.name} has no int8 plan on this device", fix=f"edgecell prepare {bundle.path.name}")
        return "s8s8"

    def infer(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        if type(self).fails:
            raise InferenceError("the device fell off the bus", fix="look at dmesg")
        return super().infer(batch)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> type[Accelerator]:
    """In the table as `trt`, a fresh class whose state a test may change."""
    part = type("Part", (Accelerator,), {})
    monkeypatch.setitem(globals(), "Part", part)
    table = {**app.TABLES["engine"], "trt": f"{__name__}:Part"}
    for module in (app, check):
        monkeypatch.setattr(module, "TABLES", {**module.TABLES, "engine": table})
    return part


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def settings(bundle: Bundle, engine: PartSettings | None = None, **models: str) -> Settings:
    return Settings(
        models={"nucleated": str(bundle.path), **models},
        source=PartSettings(part="phantom", options={"width": 320, "height": 240, "frames": 2}),
        segmenter=PartSettings(part="stain"),
        engine=engine or PartSettings(part="auto"),
    )


def test_a_prepared_bundle_goes_to_the_accelerator(accelerator: type[Accelerator], tiny: Bundle) -> None:
    plan = app.plan(settings(tiny))
    assert plan.engines["nucleated"].part is accelerator
    with plan.recogniser() as recogniser:
        (model,) = recogniser.models
    assert model.engine.endswith("(auto: its plan, made from s8s8.onnx, is prepared and verified here)")


def test_without_the_device_it_is_onnx_runtime_and_says_why(accelerator: type[Accelerator], tiny: Bundle) -> None:
    accelerator.lacking = "no NVIDIA driver: install one"
    chosen = app.plan(settings(tiny)).engines["nucleated"]
    assert (chosen.name, chosen.why, chosen.fix) == (
        "onnxrt",
        "trt cannot be used, no NVIDIA driver",
        "",
    )
    with app.plan(settings(tiny)).recogniser() as recogniser:
        (model,) = recogniser.models
    assert model.engine.startswith("onnxruntime ")
    assert model.engine.endswith("1 thread (auto: trt cannot be used, no NVIDIA driver)")


def test_each_bundle_is_chosen_for_on_its_own(accelerator: type[Accelerator], tiny: Bundle, tmp_path: Path) -> None:
    accelerator.unprepared = ("other",)
    other = make_tiny_bundle(tmp_path / "other")
    engines = app.plan(settings(tiny, red_blood_cell=str(other.path))).engines
    assert {kind: each.name for kind, each in engines.items()} == {"nucleated": "trt", "red_blood_cell": "onnxrt"}
    assert (engines["red_blood_cell"].why, engines["red_blood_cell"].fix) == (
        "other has no int8 plan on this device",
        "edgecell prepare other",
    )


def test_the_choice_is_one_log_line_for_all_bundles_alike(
    accelerator: type[Accelerator], tiny: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator.lacking, accelerator.found = "no TensorRT: install it", "CUDA 12.6"
    monkeypatch.setattr(logging.getLogger("edgecell"), "propagate", True)
    with caplog.at_level(logging.INFO), app.plan(settings(tiny, red_blood_cell=str(tiny.path))).recogniser():
        pass
    assert [each.getMessage() for each in caplog.records] == [
        "engine onnxrt for tiny and tiny: trt cannot be used, no TensorRT (edgecell doctor says more)"
    ]


def test_without_any_device_there_is_no_choice_to_tell_of(
    accelerator: type[Accelerator], tiny: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator.lacking = "no NVIDIA driver: install one"
    monkeypatch.setattr(logging.getLogger("edgecell"), "propagate", True)
    with caplog.at_level(logging.DEBUG), app.plan(settings(tiny)).recogniser():
        pass
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("DEBUG", "engine onnxrt for tiny: trt cannot be used, no NVIDIA driver")
    ]


def test_an_engine_that_was_asked_for_is_not_exchanged(accelerator: type[Accelerator], tiny: Bundle) -> None:
    asked = PartSettings(part="trt")
    accelerator.lacking = "no NVIDIA driver"
    with pytest.raises(MissingDependency, match="no NVIDIA driver"), app.plan(settings(tiny, asked)).recogniser():
        pass
    accelerator.lacking, accelerator.unprepared = "", ("tiny",)
    with pytest.raises(EngineError, match="no int8 plan"), app.plan(settings(tiny, asked)).recogniser():
        pass


@pytest.mark.parametrize("asked", ["auto", "trt"])
def test_an_engine_that_fails_later_is_an_error(accelerator: type[Accelerator], tiny: Bundle, asked: str) -> None:
    with app.plan(settings(tiny, PartSettings(part=asked))).recogniser() as recogniser:
        assert recogniser.classifiers["nucleated"].probabilities(tiny_crops(2)).shape == (2, 3)
        accelerator.fails = True
        with pytest.raises(InferenceError, match="fell off the bus"):
            recogniser.classifiers["nucleated"].probabilities(tiny_crops(2))


@pytest.mark.parametrize("options", [{"threads": 2}, {"": "2"}])
def test_auto_takes_no_options(tiny: Bundle, options: dict[str, Any]) -> None:
    asked = PartSettings(part="auto", options=options, where="bench.toml [engine]")
    with pytest.raises(SettingsError, match=r"bench\.toml \[engine\]: the engine 'auto' takes no options") as caught:
        app.plan(settings(tiny, asked))
    assert 'part = "onnxrt"' in caught.value.fix


def test_the_encoding_may_be_chosen(tiny: Bundle) -> None:
    chosen = app.choose("engine", PartSettings(part="onnxrt", options={"": "float"}, from_text=True))
    with app.opened(tiny, chosen) as engine:
        batch = np.zeros((1, 3, 32, 32), np.float32)
        with OnnxRuntimeEngine(tiny.file("float.onnx")) as other:
            np.testing.assert_array_equal(engine.infer(batch)["logits"], other.infer(batch)["logits"])
    with pytest.raises(SettingsError, match="encoding"):
        app.choose("engine", PartSettings(part="onnxrt", options={"": "int4"}, from_text=True))


@pytest.mark.parametrize("command", ["run", "count", "classify", "bench"])
def test_every_command_that_runs_models_takes_an_engine(
    command: str, accelerator: type[Accelerator], tiny: Bundle, tmp_path: Path
) -> None:
    accelerator.lacking, accelerator.found = "no NVIDIA driver: install one", "CUDA 12.6"
    cv2.imwrite(str(tmp_path / "cell.png"), np.full((64, 64, 3), 235, np.uint8))
    (tmp_path / "tiny.toml").write_text('[models]\nnucleated = "./tiny"\n[source]\nwidth = 320\nheight = 240\n')
    given = {
        "run": [str(tmp_path / "tiny.toml"), "--max-frames", "2", "--publish", "tcp://127.0.0.1:*"],
        "count": [str(tmp_path / "cell.png"), "--bundle", str(tiny.path)],
        "classify": [str(tmp_path / "cell.png"), "--bundle", str(tiny.path)],
        "bench": ["--settings", str(tmp_path / "tiny.toml"), "--frames", "2", "--warmup", "1"],
    }[command]
    refused = CliRunner().invoke(cli, [command, *given, "--engine", "trt"])
    assert isinstance(refused.exception, MissingDependency)
    unknown = CliRunner().invoke(cli, [command, *given, "--engine", "tensorflow"])
    assert isinstance(unknown.exception, SettingsError)
    done = CliRunner().invoke(cli, [command, *given, "--engine", "onnxrt:threads=2"])
    assert done.exit_code == 0, done.output
    assert "engine onnxrt" not in done.stderr
    chosen = CliRunner().invoke(cli, [command, *given])
    assert chosen.exit_code == 0, chosen.output
    assert chosen.stderr.count("engine onnxrt for ") == 1
    if command != "classify":
        assert "(auto: trt cannot be used," in " ".join(chosen.stdout.split())


def test_check_says_what_would_run_here(accelerator: type[Accelerator], tiny: Bundle, tmp_path: Path) -> None:
    accelerator.unprepared = ("tiny",)
    (tmp_path / "tiny.toml").write_text(f'[models]\nnucleated = "{tiny.path}"\n')
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "tiny.toml"), "--json"])
    findings = {each["subject"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert findings["engine"]["detail"] == "auto (here onnxrt for nucleated, tiny has no int8 plan on this device)"
    (tmp_path / "wrong.toml").write_text(f'[models]\nnucleated = "{tiny.path}"\n[engine]\nthreads = 2\n')
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "wrong.toml")])
    assert isinstance(result.exception, SettingsError)
    assert "takes no options (threads)" in result.exception.what


def test_check_warns_of_a_bundle_that_is_not_prepared_for_the_engine_asked_for(
    accelerator: type[Accelerator], tiny: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(f'[models]\nnucleated = "{tiny.path}"\n[engine]\npart = "trt"\n')
    accelerator.unprepared = ("tiny",)
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "tiny.toml")])
    assert result.exit_code == 0
    assert "tiny has no int8 plan on this device. Fix: edgecell prepare tiny" in result.stderr
    accelerator.unprepared = ()
    assert CliRunner().invoke(cli, ["check", str(tmp_path / "tiny.toml")]).stderr == ""
