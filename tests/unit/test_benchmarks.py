"""The small parts of the benchmarks that could be wrong without anybody seeing it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import drawing, frames, growth
from benchmarks.budgets import budgets, processor
from benchmarks.end_to_end import Figures, Run
from edgecell.errors import SettingsError


def test_a_frame_has_no_room_for_any_number_of_cells() -> None:
    with pytest.raises(ValueError, match="has room for 8 cells, not 9"):
        frames.laid(9, (400, 200), 0.2)


def test_budgets_are_of_one_kind_of_processor(tmp_path: Path) -> None:
    kept = tmp_path / "budgets.toml"
    kept.write_text('["another"]\ngate = 0.2\n')
    with pytest.raises(SettingsError, match=r"budgets\.toml has no budgets for .*, only for another"):
        budgets(kept)
    kept.write_text(f'["{processor()}"]\ngate = 0.25\n')
    assert budgets(kept) == {"gate": 0.25}


def test_tally_and_journal_are_timed_by_tenths(tmp_path: Path) -> None:
    for found in (growth.of_tally(1000), growth.of_journal(1200, tmp_path)):
        assert found.frames in (1000, 1200)
        assert min(found.us) > 0
        assert found.ratio == pytest.approx(found.us[1] / found.us[0])


def test_a_picture_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    run = Run(what="cells", source="drawn", folder="f", size_px=(64, 48), cores=1)
    lines = [
        Figures(run=run, repeats=1, fps=9, fps_least=8, fps_most=10, work=1, cells=9, nucleated=count, latency_ms=3, rss_mib=99)
        for count in (0, 10)
    ]
    for name in ("one", "other"):
        drawing.scaling(tmp_path / name, lines)
        drawing.latency(tmp_path / f"{name}-latency", np.linspace(10, 20, 50).tolist(), "drawn")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert (tmp_path / "one-latency").read_bytes() == (tmp_path / "other-latency").read_bytes()
    assert "p99 19.9 ms" in (tmp_path / "one-latency").read_text()
    assert "research use only" in (tmp_path / "one").read_text()
