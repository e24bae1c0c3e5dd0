"""2,000 frames of 640x480: what a long run holds does not grow. `python -m benchmarks.soak --frames 20000` is the long one."""

import os
import subprocess
import sys

import msgspec
import pytest
from command_line import ENVIRONMENT
from tiny_bundle import make_tiny_bundle

from benchmarks.soak import Outcome

FRAMES = int(os.environ.get("EDGECELL_SOAK_FRAMES", "2000"))
PATIENCE_S = 300 + FRAMES
MORE_RSS_MIB = 24.0
"""In the last tenth than in the first, whose caches may still fill: less than 14 KiB a frame, and a frame has 900."""
SLOWER = 3.0
"""Times the median of the first tenth. The machine of a test has others to serve too; what grows with the frames, as a list
that is searched does, would be above it soon."""
SETTINGS = """
models = {nucleated = "./tiny"}
source = {part = "phantom", width = 640, height = 480}
segmenter = {part = "stain"}
engine = {part = "onnxrt", threads = 1}
run = {window_s = 0.2}
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The run with the small test bundle, in a process of its own."""
    folder = tmp_path_factory.mktemp("soak")
    make_tiny_bundle(folder / "tiny")
    (folder / "soak.toml").write_text(SETTINGS)
    line = [sys.executable, "-m", "benchmarks.soak", "--frames", str(FRAMES), "--settings", "soak.toml", "--json"]
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    ended = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
    return msgspec.json.decode(ended.stdout, type=Outcome)


def test_every_frame_is_counted(outcome: Outcome) -> None:
    assert (outcome.processed, outcome.lost) == (FRAMES, 0)
    assert outcome.messages > 10


def test_memory_stays(outcome: Outcome) -> None:
    assert outcome.tenths[-1].rss_mib - outcome.tenths[0].rss_mib < MORE_RSS_MIB


def test_no_file_and_no_thread_is_left_open(outcome: Outcome) -> None:
    """A file may be open for a moment, so medians are compared."""
    assert {(tenth.fds, tenth.threads) for tenth in outcome.tenths} == {(outcome.tenths[0].fds, outcome.tenths[0].threads)}


def test_frames_do_not_take_longer(outcome: Outcome) -> None:
    assert outcome.tenths[-1].p50_ms < SLOWER * outcome.tenths[0].p50_ms
