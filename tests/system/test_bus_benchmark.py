"""What `benchmarks.bus` measures is what it says: who reads hears everything, who does not has a full queue."""

from pathlib import Path

import pytest
from tiny_bundle import make_tiny_bundle

from benchmarks.bus import Case, measured
from edgecell import settings

SETTINGS = """
models = {nucleated = "./tiny"}
source = {part = "phantom", width = 320, height = 240}
segmenter = {part = "stain"}
"""


@pytest.mark.parametrize("encrypted", [False, True])
def test_fifty_listeners_of_whom_ten_do_not_read(tmp_path: Path, encrypted: bool) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "bench.toml").write_text(SETTINGS)
    (tmp_path / "run/allow").mkdir(parents=True, mode=0o700)
    case = Case(listeners=50, curve=encrypted, journal=True)
    found = measured(settings.load(tmp_path / "bench.toml"), case, tmp_path / "run", 20, 50.0)
    assert found.sent > 20
    assert found.heard == found.sent
    assert found.stalled_heard == 0
    assert found.p99_ms >= found.p50_ms > found.publish_ms > 0
