"""Building a plan in a process of its own, on the stand-in for TensorRT: what is asked, what is told, what goes wrong."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest
from conftest import StandInMachine

import edgecell
from edgecell.bundle import SHIPPED
from edgecell.clock import monotonic_ns, sleep
from edgecell.engines.trt.building import WORKER, build
from edgecell.engines.trt.request import BuildRequest, Built, ModelRefused, Precision, Progress, Shapes
from edgecell.errors import EngineBuildError, EngineError, MissingDependency

VERSIONS = ("8.6.1", "10.3.0", "10.16.1.11", "11.4.0.106")
WEAK, STRONG = VERSIONS[:2], VERSIONS[2:]
CELLS = {"input": Shapes(min=(1, 3, 128, 128), opt=(16, 3, 128, 128), max=(64, 3, 128, 128))}
FIELDS = {"input": Shapes(min=(1, 3, 16, 16), opt=(1, 3, 480, 768), max=(4, 3, 4096, 4096))}


def asked(folder: Path, name: str = "pbc8/s8s8.onnx", precision: Precision = "int8", **changes: Any) -> BuildRequest:
    """A request for a plan of a bundle that ships."""
    shapes = FIELDS if name.startswith("cells3") else CELLS
    model, plan = SHIPPED / name, folder / "plans" / "a.plan"
    return replace(BuildRequest(model=model, plan=plan, precision=precision, shapes=shapes, workspace_bytes=1 << 28), **changes)


def built(request: BuildRequest) -> Built:
    return build(request, lambda progress: None)


def facts(plan: Path) -> dict[str, Any]:
    """What the stand-in was asked for, as it wrote it into its plan."""
    read: dict[str, Any] = json.loads(plan.read_bytes().split(b"\n", 2)[1])
    return read


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_builds_the_classifier(stand_in_machine: StandInMachine, tmp_path: Path, version: str) -> None:
    stand_in_machine.tensorrt(version)
    request = asked(tmp_path)
    outcome = built(request)
    assert (outcome.version, outcome.layers > 50, outcome.timing_cache) == (version, True, "")
    assert outcome.warnings == ("stand-in: nothing was measured",), "each warning once, nothing verbose"
    told = facts(request.plan)
    assert request.plan.read_bytes().endswith(request.model.read_bytes())
    assert told["profile"] == {"input": [[1, 3, 128, 128], [16, 3, 128, 128], [64, 3, 128, 128]]}
    assert told["workspace"] == 1 << 28
    assert told["sources"] & 0b111 == 0, "no cuBLAS, no cuDNN"
    assert told["sharing"] == version.startswith("8."), "asked for where it is not a matter of course"
    assert left(tmp_path) == ["a.plan"]


@pytest.mark.parametrize(
    ("version", "precision", "typed", "flags"),
    [
        *((version, "int8", "weak", ["FP16", "INT8"]) for version in WEAK),
        *((version, "fp16", "weak", ["FP16"]) for version in WEAK),
        ("10.11.0.33", "fp32", "weak", []),
        ("10.12.0.36", "int8", "strong", []),
        *((version, "fp16", "strong", []) for version in STRONG),
        ("11.4.0.106", "int8", "strong", []),
    ],
)
def test_precision_is_allowed_by_flags_only_where_typing_is_weak(
    stand_in_machine: StandInMachine, tmp_path: Path, version: str, precision: Precision, typed: str, flags: list[str]
) -> None:
    stand_in_machine.tensorrt(version)
    half = "fp16" if typed == "strong" else "float"
    name = {"int8": "s8s8", "fp16": half, "fp32": "float"}[precision]
    request = asked(tmp_path, f"pbc8/{name}.onnx", precision)
    built(request)
    told = facts(request.plan)
    assert (told["typed"], told["flags"], told["tf32"]) == (typed, flags, precision != "fp32")


def test_the_segmenter_s_height_and_width_may_vary(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    request = asked(tmp_path, "cells3/s8s8.onnx")
    built(request)
    assert facts(request.plan)["profile"] == {"input": [[1, 3, 16, 16], [1, 3, 480, 768], [4, 3, 4096, 4096]]}


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        ({}, r"has inputs \['input'\], and shapes were given for \[\]"),
        ({"image": CELLS["input"]}, r"has inputs \['input'\], and shapes were given for \['image'\]"),
        ({"input": FIELDS["input"]}, r"input input of .* is \(-1, 3, 128, 128\) \(-1: any\), which shapes .* do not fit"),
        ({"input": replace(CELLS["input"], opt=(65, 3, 128, 128))}, "do not fit"),
        ({"input": replace(CELLS["input"], min=(1, 3))}, "do not fit"),
    ],
)
def test_shapes_that_are_not_the_model_s_are_refused(
    stand_in_machine: StandInMachine, tmp_path: Path, shapes: dict[str, Shapes], what: str
) -> None:
    with pytest.raises(EngineBuildError, match=what):
        built(asked(tmp_path, shapes=shapes))
    assert left(tmp_path) == []


# What is told meanwhile


@pytest.mark.parametrize(("version", "phases"), [("8.6.1", False), ("10.3.0", True), ("11.4.0.106", True)])
def test_never_a_tick_without_a_word(stand_in_machine: StandInMachine, tmp_path: Path, version: str, *, phases: bool) -> None:
    """8.6 says nothing while it builds: what is told then are the seconds that pass."""
    stand_in_machine.tensorrt(version, seconds=1.0)
    told: list[Progress] = []
    times = [monotonic_ns()]

    def listen(progress: Progress) -> None:
        told.append(progress)
        times.append(monotonic_ns())

    outcome = build(asked(tmp_path), listen, tick_s=0.1)
    assert outcome.seconds >= 1.0
    gaps = [(after - before) / 1e9 for before, after in pairwise(times)]
    assert max(gaps) < 0.9, "the ticks of 0.1 s did not come"
    assert [each.elapsed_s for each in told] == sorted(each.elapsed_s for each in told)
    while_it_builds = [each for each in told if each.phase == "building the int8 plan"]
    steps = [each.step for each in told if each.phase == "Timing graph nodes" and each.steps == 10]
    if phases:
        assert len(steps) > 3
        assert steps == sorted(steps)
    else:
        assert len(while_it_builds) > 3
        assert not steps


# The timing cache


def test_a_timing_cache_is_begun_reused_and_refused(
    stand_in_machine: StandInMachine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kernels = tmp_path / "caches" / "kernels.cache"
    request = asked(tmp_path, timing_cache=kernels)
    assert built(request).timing_cache == "new"
    learnt = kernels.read_bytes()
    assert b"Conv" in learnt
    again = built(request)
    assert (again.timing_cache, kernels.read_bytes()) == ("reused", learnt)
    stand_in_machine.tensorrt("10.16.1.11")
    assert not caplog.records
    assert built(request).timing_cache == "refused"
    said = f"{kernels} is not of this TensorRT and device: the timing cache was begun anew"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert b"10.16.1.11" in kernels.read_bytes()
    stand_in_machine.driver(sm=120)
    assert built(request).timing_cache == "refused"
    assert left(tmp_path) == ["a.plan", "kernels.cache"]


def test_a_timing_cache_that_is_none_is_begun_anew(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    (tmp_path / "kernels.cache").write_bytes(b"half a fi")
    request = asked(tmp_path, timing_cache=tmp_path / "kernels.cache")
    assert built(request).timing_cache == "refused"
    assert built(request).timing_cache == "reused"


def test_what_the_library_said_of_a_refused_cache_is_no_reason_for_what_comes(
    stand_in_machine: StandInMachine, tmp_path: Path
) -> None:
    (tmp_path / "kernels.cache").write_bytes(b"half a fi")
    stand_in_machine.tensorrt("10.3.0", fault="memory")
    with pytest.raises(EngineBuildError, match=r"s8s8\.onnx: Error Code 2: OutOfMemory"):
        built(asked(tmp_path, timing_cache=tmp_path / "kernels.cache"))


# What goes wrong


@pytest.mark.parametrize("version", VERSIONS)
def test_every_error_of_the_parser_is_told_with_its_node(
    stand_in_machine: StandInMachine, tmp_path: Path, version: str
) -> None:
    stand_in_machine.tensorrt(version, fault="parser")
    with pytest.raises(EngineBuildError) as caught:
        built(asked(tmp_path, "cells3/float.onnx", "fp16"))
    first, last = caught.value.what.split("float.onnx: ")[1].split("; ")
    nodes = onnx.load(SHIPPED / "cells3/float.onnx").graph.node
    said = "UNSUPPORTED_NODE, Assertion failed: stand-in does not support it"
    assert first == f"node 0 {nodes[0].name!r} ({nodes[0].op_type}): {said}"
    assert last == f"node {len(nodes) - 1} {nodes[-1].name!r} ({nodes[-1].op_type}): {said}"
    assert "workshop" in caught.value.fix
    assert left(tmp_path) == []


def test_many_errors_are_logged_one_by_one(
    stand_in_machine: StandInMachine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of the encoding that is for ONNX Runtime."""
    with pytest.raises(ModelRefused) as caught:
        built(asked(tmp_path, "pbc8/u8s8.onnx"))
    assert len(caught.value.errors) == 50
    said = "(QuantizeLinear): UNSUPPORTED_NODE, Assertion failed: the zero point must be int8"
    assert said in caught.value.what
    assert caught.value.what.endswith("; and 48 more, all in the log")
    assert [record.getMessage() for record in caplog.records] == [f"TensorRT: {each}" for each in caught.value.errors]


def test_a_file_that_is_no_model_is_refused_quietly(
    stand_in_machine: StandInMachine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the vendor's code prints by itself is not for the terminal."""
    (tmp_path / "model.onnx").write_bytes(b"half a mod")
    with pytest.raises(EngineBuildError, match=r"the file: MODEL_DESERIALIZE_FAILED, Failed to parse ONNX model"):
        built(asked(tmp_path, model=tmp_path / "model.onnx"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("fault", "what", "fix"),
    [
        ("memory", "built no int8 plan of .*: Error Code 2: OutOfMemory", "smaller batch.max"),
        ("workspace", "built no int8 plan of .*: Error Code 10: .*Could not find any implementation", "raise `workspace_mib`"),
        ("silent", "built no int8 plan of .*: stand-in: nothing was measured", "--engine onnxrt"),
        ("builder", "could not make a builder .*: CUDA initialization failure with error: 35", "newer NVIDIA driver"),
        ("abort", r"crashed \(SIGABRT\) while .*said last: stand-in: terminate called after throwing", "report this line"),
        ("segfault", r"crashed \(SIGSEGV\) while Building Engine.*said last: stand-in: terminate", "report this line"),
        ("kill", r"was killed \(SIGKILL\) while Building Engine", "out of memory"),
    ],
)
def test_a_build_without_a_plan_says_why_and_what_to_do(
    stand_in_machine: StandInMachine, tmp_path: Path, capfd: pytest.CaptureFixture[str], fault: str, what: str, fix: str
) -> None:
    stand_in_machine.tensorrt("10.3.0", fault=fault)
    plan = tmp_path / "plans" / "a.plan"
    plan.parent.mkdir()
    plan.write_bytes(b"the one before")
    with pytest.raises(EngineBuildError, match=what) as caught:
        built(asked(tmp_path))
    assert fix in caught.value.fix
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert (left(tmp_path), plan.read_bytes()) == (["a.plan"], b"the one before")


def test_a_crash_names_the_timing_cache_that_may_be_to_blame(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    request = asked(tmp_path, timing_cache=tmp_path / "kernels.cache")
    built(request)
    stand_in_machine.tensorrt("10.3.0", fault="segfault")
    with pytest.raises(EngineBuildError) as caught:
        built(request)
    assert caught.value.fix.startswith(f"remove {request.timing_cache}, ")


def test_what_is_missing_in_the_process_is_a_missing_dependency(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    stand_in_machine.tensorrt("10.3.0", fault="import")
    with pytest.raises(MissingDependency, match=r"tensorrt does not load: libnvinfer\.so\.10"):
        built(asked(tmp_path))
    stand_in_machine.driver(init=100)
    with pytest.raises(MissingDependency, match="cuInit gave 100"):
        built(asked(tmp_path))
    stand_in_machine.patch.setenv("LD_LIBRARY_PATH", "/nowhere")
    if Path("/dev/nvidiactl").exists():
        pytest.skip("NVIDIA's own driver is here")
    with pytest.raises(MissingDependency, match="no NVIDIA driver"):
        built(asked(tmp_path))


def test_a_place_that_cannot_be_written_is_named(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineBuildError, match="no folder for the plan") as caught:
        built(asked(tmp_path, plan=tmp_path / "file" / "a.plan"))
    assert "`cache`" in caught.value.fix
    (tmp_path / "a.plan").mkdir()
    with pytest.raises(EngineBuildError, match=r"a\.plan cannot be written"):
        built(asked(tmp_path, plan=tmp_path / "a.plan"))
    assert left(tmp_path) == ["file"]


# Which device


@pytest.mark.parametrize(
    ("visible", "device", "seen"), [(None, 0, None), (None, 2, "2"), ("5,7", 1, "7"), ("5,7", 0, "5"), ("", 0, "")]
)
def test_the_process_sees_the_one_device_that_is_meant(
    stand_in_machine: StandInMachine, tmp_path: Path, visible: str | None, device: int, seen: str | None
) -> None:
    if visible is not None:
        stand_in_machine.patch.setenv("CUDA_VISIBLE_DEVICES", visible)
    stand_in_machine.driver(init=100)  # the error names the setting
    with pytest.raises(MissingDependency) as caught:
        built(asked(tmp_path, device=device))
    assert ("CUDA_VISIBLE_DEVICES" in caught.value.what) is (seen is not None)
    assert seen is None or f"(CUDA_VISIBLE_DEVICES={seen})" in caught.value.what


def test_a_device_that_is_hidden_cannot_be_asked_for(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    stand_in_machine.patch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with pytest.raises(EngineError, match="there is no device 2 in CUDA_VISIBLE_DEVICES=5,7"):
        built(asked(tmp_path, device=2))


# How it ends


def children(process: int) -> list[int]:
    """Those that build. Another test's library may have left the test process a helper of its own."""
    return [each for each in below(process) if WORKER.encode() in Path(f"/proc/{each}/cmdline").read_bytes()]


def below(process: int) -> list[int]:
    """All its children, also those that have ended and were not waited for."""
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def gone(process: int) -> bool:
    """Whether it has ended (a zombie has: its end is waited for by somebody else)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = monotonic_ns() + int(seconds * 1e9)
    while not true() and monotonic_ns() < end:
        sleep(0.01)
    return true()


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError("from the listener")])
def test_an_interrupted_build_leaves_no_process_and_no_file(
    stand_in_machine: StandInMachine, tmp_path: Path, error: BaseException
) -> None:
    stand_in_machine.tensorrt("10.3.0", seconds=60)
    running: list[int] = []

    def stop(progress: Progress) -> None:
        running[:] = children(os.getpid())
        if progress.phase == "Timing graph nodes":
            raise error

    with pytest.raises((KeyboardInterrupt, EngineError)):
        build(asked(tmp_path), stop)
    assert running
    assert not set(running) & set(below(os.getpid()))
    assert left(tmp_path) == []


def test_ctrl_c_is_the_parent_s_to_answer(stand_in_machine: StandInMachine, tmp_path: Path) -> None:
    """A terminal sends it to both. A parent that goes on gets its plan."""
    stand_in_machine.tensorrt("10.3.0", seconds=0.3)
    sent: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.phase == "Timing graph nodes" and not sent:
            sent.extend(children(os.getpid()))
            os.kill(sent[0], signal.SIGINT)

    assert build(asked(tmp_path), interrupt).version == "10.3.0"
    assert len(sent) == 1


def test_what_lies_in_the_user_s_folder_is_not_imported(
    stand_in_machine: StandInMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the json that was meant')")
    monkeypatch.chdir(tmp_path)
    assert built(asked(tmp_path)).version == "10.3.0"


PARENT = """
import sys
from pathlib import Path
from edgecell.engines.trt.building import build
from edgecell.engines.trt.request import BuildRequest
build(BuildRequest.from_json(sys.argv[1]), lambda progress: print(progress.phase, flush=True))
"""


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_building_process_does_not_outlive_its_parent(
    stand_in_machine: StandInMachine, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    stand_in_machine.tensorrt("8.6.1", seconds=60)
    command = [sys.executable, "-c", PARENT, asked(tmp_path).to_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        assert any(line.startswith("building") for line in parent.stdout), "it never came to building"
        (child,) = children(parent.pid)
        parent.send_signal(how)
        assert parent.wait(10) == code
        assert wait_until(lambda: gone(child))
    assert left(tmp_path) == []


# What it needs


def test_building_needs_the_standard_library_only() -> None:
    """Python without its site-packages: what is checked on a GPU machine has little else than TensorRT."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); from edgecell.engines.trt import building, worker"
    root = str(Path(edgecell.__file__).parents[1])
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", program, root], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
