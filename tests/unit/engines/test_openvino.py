"""What is OpenVINO's own: what it computes in, what happens on failure, its threads, and that importing it tells nobody."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ENVIRONMENT, called
from numpy.typing import NDArray

from edgecell import app
from edgecell.bundle import Bundle, Encoding, open_bundle, shipped
from edgecell.engines.onnxrt import OnnxRuntimeEngine
from edgecell.engines.openvino import OpenVinoEngine, OpenVinoOptions
from edgecell.errors import InferenceError, SettingsError
from edgecell.golden import GOLDEN, inputs, read_golden, replay
from edgecell.settings import engine_from_spec
from edgecell.signature import ANY

pytestmark = pytest.mark.skipif(not OpenVinoEngine.probe().usable, reason=OpenVinoEngine.probe().missing)
WATCHED = """
import os, sys, time
def look(event, given):
    if event.startswith("socket."):
        os.write(2, b"out\\n")
        raise OSError("this test lets nothing out")
sys.addaudithook(look)
{program}
time.sleep({wait})
print("openvino" in sys.modules)
"""
COUNTED = """
import os, numpy as np
from pathlib import Path
from edgecell.engines.openvino import OpenVinoEngine, OpenVinoOptions
with OpenVinoEngine(Path({model!r}), options=OpenVinoOptions(threads={threads})) as engine:
    for _ in range(3):
        engine.infer(np.zeros((1, 3, 320, 320), np.float32))
    print(len(os.listdir("/proc/self/task")), engine.description)
"""


@pytest.fixture(params=shipped())
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(request.param, ANY)


@pytest.fixture(scope="module")
def cells3() -> Bundle:
    return open_bundle("cells3", ANY)


@pytest.fixture
def segmenter(cells3: Bundle) -> Iterator[OpenVinoEngine]:
    with OpenVinoEngine(cells3.file("u8s8.onnx"), manifest=cells3.manifest) as engine:
        yield engine


def golden_batch(bundle: Bundle) -> NDArray[np.float32]:
    return inputs(read_golden(bundle.file(GOLDEN), "float").crops, bundle.manifest)


def field(height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(height).standard_normal((1, 3, height, width), dtype=np.float32)


@pytest.mark.parametrize("encoding", ["float", "fp16", "u8s8", "s8s8"])
def test_every_encoding_of_every_shipped_bundle_is_answered_as_certified(bundle: Bundle, encoding: Encoding) -> None:
    options = OpenVinoOptions(encoding=encoding)
    with OpenVinoEngine(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options) as engine:
        report = replay(bundle, engine, encoding)
    assert report.cells == len(read_golden(bundle.file(GOLDEN), "float").crops)


def test_every_layer_that_was_quantized_is_computed_in_int8(bundle: Bundle) -> None:
    """By what OpenVINO says of the kernels it took; only those that the manifest keeps float are float."""
    kept = len(bundle.manifest.quantization.kept_float)
    with OpenVinoEngine(bundle.file("u8s8.onnx"), manifest=bundle.manifest) as engine:
        told = engine.description.rpartition(", ")[2].split()
    int8, layers = int(told[0]), int(told[2])
    assert told[3:] == ["layers", "in", "INT8"]
    assert layers - int8 == kept


def test_float_is_whole_float(bundle: Bundle) -> None:
    """Not the 16 bits that some processors compute faster."""
    model, batch = bundle.file("float.onnx"), golden_batch(bundle)
    with OpenVinoEngine(model, manifest=bundle.manifest) as engine, OnnxRuntimeEngine(model, manifest=bundle.manifest) as other:
        assert engine.description.endswith(", float32")
        expected = other.infer(batch)
        for name, answer in engine.infer(batch).items():
            np.testing.assert_allclose(answer, expected[name], rtol=1e-3, atol=1e-3)


def test_in_int8_it_is_as_near_to_the_float_model_as_onnx_runtime(bundle: Bundle) -> None:
    model, batch, far = bundle.file("u8s8.onnx"), golden_batch(bundle), {}
    certified = read_golden(bundle.file(GOLDEN), "float").outputs
    for part in (OpenVinoEngine, OnnxRuntimeEngine):
        with part(model, manifest=bundle.manifest) as engine:
            answers = engine.infer(batch)
        far[part] = {name: float(np.square(answers[name] - answer).mean() ** 0.5) for name, answer in certified.items()}
    for name, distance in far[OpenVinoEngine].items():
        assert 0 < distance < 1.15 * far[OnnxRuntimeEngine][name]


def test_an_inference_that_failed_inside_the_library_is_an_error(segmenter: OpenVinoEngine, monkeypatch: Any) -> None:
    """The real library, given what the real model cannot compute: it raises nothing and leaves the answers of before."""
    segmenter.infer(field(64, 64))
    monkeypatch.setattr(segmenter, "_check_batch", lambda batch: None)
    with pytest.raises(InferenceError, match="it gave no answer"):
        segmenter.infer(field(40, 40))
    with pytest.raises(InferenceError, match="it gave no answer"):
        segmenter.infer(field(64, 64))
    segmenter.__exit__(None, None, None)
    with segmenter:
        assert segmenter.infer(field(64, 64))["kinds"].shape == (1, 3, 16, 16)


@pytest.mark.parametrize("shape", [(1, 3, 40, 64), (1, 3, 64, 40), (1, 4, 64, 64), (3, 64, 64)])
def test_what_the_model_cannot_take_is_said_before_it_spoils_the_engine(
    segmenter: OpenVinoEngine, shape: tuple[int, ...]
) -> None:
    expected = segmenter.infer(field(64, 80))
    with pytest.raises(InferenceError, match=r"the model takes float32 anyx3xanyxany, height and width in multiples of 16"):
        segmenter.infer(np.zeros(shape, np.float32))
    with pytest.raises(InferenceError, match="batch float64"):
        segmenter.infer(np.zeros((1, 3, 64, 64)))  # type: ignore[arg-type]
    again = segmenter.infer(field(64, 80))
    assert all(np.array_equal(again[name], answer) for name, answer in expected.items())


def test_pictures_of_another_size_are_answered_each_by_itself(segmenter: OpenVinoEngine, cells3: Bundle) -> None:
    with OnnxRuntimeEngine(cells3.file("u8s8.onnx"), manifest=cells3.manifest) as other:
        for size in ((64, 64), (96, 160), (64, 64), (32, 48)):
            answers, expected = segmenter.infer(field(*size)), other.infer(field(*size))
            for name, answer in answers.items():
                assert answer.shape == expected[name].shape
                assert np.corrcoef(answer.ravel(), expected[name].ravel())[0, 1] > 0.99


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_its_threads_are_as_many_as_were_asked_for(cells3: Bundle) -> None:
    """Those of the process, which has some more that do not compute: one more where one more was asked for."""
    many = {}
    for threads in (1, 2):
        program = COUNTED.format(model=str(cells3.file("u8s8.onnx")), threads=threads)
        done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True)
        count, _, description = done.stdout.partition(" ")
        assert f" {threads} thread" in description
        many[threads] = int(count)
    assert many[2] - many[1] == 1


def test_options_are_written_as_of_any_engine() -> None:
    assert app.choose("engine", engine_from_spec("openvino:float")).options == OpenVinoOptions(encoding="float")
    assert app.choose("engine", engine_from_spec("openvino:threads=2")).options == OpenVinoOptions(threads=2)
    with pytest.raises(SettingsError, match="threads"):
        app.choose("engine", engine_from_spec("openvino:threads=0"))


@pytest.mark.parametrize(
    ("program", "wait", "quiet"),
    [
        ("from edgecell.engines.openvino import OpenVinoEngine; assert OpenVinoEngine.probe().usable", 0.3, True),
        ("import openvino", 2, False),
    ],
    ids=["the engine", "the library as it is"],
)
def test_importing_it_tells_nobody(program: str, wait: float, quiet: bool, tmp_path: Path) -> None:
    """As it is, the library sends word from a child of the process: that the watch sees it is half of the test."""
    if not quiet and "openvino-telemetry" not in {each.name for each in metadata.distributions()}:
        pytest.skip("the library came without what tells")
    silent = {"CI", "TF_BUILD", "JENKINS_URL"}  # where the library tells nothing
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in silent} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", WATCHED.format(program=program, wait=wait)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
    assert ("out" not in done.stderr) is quiet
    assert (not list(tmp_path.iterdir())) is quiet


def test_a_whole_run_counts_what_it_counts_on_onnx_runtime() -> None:
    """Segmenter and classifier, on the drawn slide; the last digit of a probability may decide one cell otherwise."""
    counts = {}
    for engine in ("openvino", "onnxrt"):
        given = ("--source", "phantom:width=640,height=480", "--max-frames", "3", "--no-journal", "--json")
        ended = called("run", *given, "--publish", "tcp://127.0.0.1:*", "--engine", engine)
        assert ended.code == 0, ended.err
        last = [each for each in ended.documents if each["schema"] == "counts/1"][-1]
        assert all(
            each["engine"].startswith("openvino " if engine == "openvino" else "onnxruntime ") for each in last["models"]
        )
        counts[engine] = last["cells_total"]
    assert counts["onnxrt"] > 50
    assert abs(counts["openvino"] - counts["onnxrt"]) <= 0.02 * counts["onnxrt"]
