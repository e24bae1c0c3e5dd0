"""The real cuda-python, where there is no driver: every call that is made of it takes its arguments and answers with an error.

In a process of its own, with streams, events and graphs that are none: on a machine with a device that would not go well.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from edgecell.engines.trt import driver
from edgecell.errors import MissingDependency

ROOT = Path(__file__).parents[4]
PROGRAM = """
import logging

import numpy as np
from cuda.bindings import runtime
from edgecell.engines.trt.cuda import find_binding, open_cuda
from edgecell.engines.trt.cuda_python import CudaPython
from edgecell.errors import InferenceError

logging.basicConfig(level=logging.DEBUG)
assert find_binding() is CudaPython
try:
    open_cuda()
except InferenceError as error:
    print("open:", error)
cuda = CudaPython.__new__(CudaPython)
cuda._device = 0
handles = {1: runtime.cudaStream_t(1), 2: runtime.cudaEvent_t(2), 3: runtime.cudaGraphExec_t(3), 4: runtime.cudaEvent_t(4)}
host = np.zeros(8, np.uint8)
calls = {
    "allocate": (8,), "pinned": (8,), "stream": (), "event": (), "wait_stream": (1,), "wait_event": (2,), "record": (2, 1),
    "elapsed_ms": (2, 4), "to_device": (256, host, 1), "to_host": (host, 256, 1), "begin_capture": (1,), "end_capture": (1,),
    "launch": (3, 1), "free": (256,), "free_pinned": (host,), "free_stream": (1,), "free_event": (2,), "free_graph": (3,),
}
for name, arguments in calls.items():
    cuda._objects = dict(handles)
    try:
        getattr(cuda, name)(*arguments)
        print(name, "passed")
    except InferenceError as error:
        print(name, "failed", error.what.split()[3])
methods = {name for name, each in vars(CudaPython).items() if callable(each) and not name.startswith("_")}
print("left out:", *sorted(methods - set(calls) - {"current", "close", "version"}))
"""


def test_every_call_is_one_that_the_real_one_understands() -> None:
    try:
        driver.look()
    except MissingDependency:
        pass
    else:
        pytest.skip("there is a device")
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines() if line.strip())
    assert "cudaErrorInsufficientDriver" in said["open:"] or "cudaErrorNoDevice" in said["open:"]
    assert "Fix: " in said["open:"]
    assert said.pop("left") == "out:"
    freed = {name: words for name, words in said.items() if name.startswith("free")}
    assert len(freed) == 5
    assert set(freed.values()) == {"passed"}, "what cannot be freed is logged"
    assert ended.stderr.count("failed: cudaError") == 5
    rest = {words for name, words in said.items() if name not in {*freed, "open:"}}
    assert len(said) == 19
    assert rest <= {"failed cudaErrorInsufficientDriver", "failed cudaErrorNoDevice"}
