"""The small parts of the benchmarks that could be wrong without anybody seeing it."""

import re
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from tiny_bundle import make_tiny_bundle

pytest.importorskip("skimage")

import benchmarks.__main__
from benchmarks import drawing, frames, growth, page, resolution, throughput
from benchmarks.budgets import budgets, processor
from benchmarks.end_to_end import Figures, Run
from benchmarks.measured import Goal, Results
from benchmarks.throughput import Alone
from edgecell import app
from edgecell.bundle import open_bundle
from edgecell.errors import SettingsError
from edgecell.halves import Halves
from edgecell.segmenters.network.look import Network
from edgecell.settings import PartSettings
from edgecell.signature import ANY

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


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


def test_tally_journal_and_wire_are_timed_by_tenths(tmp_path: Path) -> None:
    for found in (growth.of_tally(1000), growth.of_journal(1200, tmp_path), growth.of_wire(1200)):
        assert found.frames in (1000, 1200)
        assert min(found.us) > 0
        assert found.ratio == pytest.approx(found.us[1] / found.us[0])


def test_a_picture_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    run = Run(what="cells", source="drawn", folder="f", size_px=(1920, 1200), cores=1, frames=9)
    lines = [
        Figures(run=run, repeats=1, fps=9, fps_least=8, fps_most=10, work=1, cells=9, nucleated=count, latency_ms=3, rss_mib=99)
        for count in (0, 10)
    ]
    taken = np.linspace(10, 20, 50).tolist()
    for name in ("one", "other"):
        drawing.scaling(tmp_path / name, lines)
        drawing.latency(tmp_path / f"{name}-latency", {"edgecell": taken, "fixed_work": taken}, "drawn")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert (tmp_path / "one-latency").read_bytes() == (tmp_path / "other-latency").read_bytes()
    assert "p99 19.9 ms" in (tmp_path / "one-latency").read_text()
    assert "fixed work, p99/p50 1.33" in (tmp_path / "one-latency").read_text()
    assert "research use only" in (tmp_path / "one").read_text()


def test_frames_a_second_are_compared_round_by_round() -> None:
    ours = [Alone(frames=60, seconds=1.0, processor_s=1.2), Alone(frames=30, seconds=1.0, processor_s=0.6)]
    theirs = [Alone(frames=10, seconds=1.0, processor_s=1.0), Alone(frames=10, seconds=2.0, processor_s=2.0)]
    found = throughput.pace("naive", theirs, ours)
    assert found.edgecell_over == (6.0, 6.0, 6.0)
    assert (found.fps, found.fps_least, found.fps_most) == (7.5, 5.0, 10.0)
    assert found.processor_ms == 150.0
    assert found.threads == 1


def test_a_goal_is_the_most_or_the_least() -> None:
    assert Goal(what="times", wanted=5, found=5.0).met
    assert not Goal(what="times", wanted=5, found=4.99).met
    assert Goal(what="seconds", wanted=1.5, found=1.5, most=True).met
    assert not Goal(what="seconds", wanted=1.5, found=1.51, most=True).met


def test_the_network_is_shown_cells_at_the_resolution_that_is_asked_for() -> None:
    bundle = open_bundle("cells3", ANY)
    assert resolution.works_at(resolution.working_at(bundle, 0.36)) == pytest.approx(0.36)
    assert resolution.works_at(bundle) in resolution.WORK_UM
    image = frames.drawn(1, (640, 400))[0]
    with app.opened(bundle, app.choose("engine", PartSettings(part="onnxrt"))) as engine:
        looks = [Network(engine, resolution.working_at(bundle, um)).look(Halves(image), 0.1) for um in (0.2, 0.4)]
    assert looks[0].maps["inside"].shape == (1, 50, 80)
    assert looks[1].maps["inside"].shape == (1, 25, 40)


@pytest.mark.parametrize("name", ["edgecell", "naive"])
def test_one_turn_for_frames_a_second(tmp_path: Path, name: str) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames/0.png"), cv2.cvtColor(frames.drawn(1, (480, 320))[0], cv2.COLOR_RGB2BGR))
    found = throughput.alone(tmp_path / "frames", name, 0.05, str(tmp_path / "tiny"))
    assert found.frames >= 1
    assert found.seconds > 0
    assert found.processor_s > 0


def test_the_committed_page_is_made_of_the_committed_figures() -> None:
    """And so is what the README says of speed; each picture that it shows is there."""
    found = msgspec.json.decode((RESULTS / "results.json").read_bytes(), type=Results)
    assert page.as_text(found) == (RESULTS / "results.md").read_text(encoding="utf-8")
    readme = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    assert page.in_readme(readme, found) == readme
    shown = re.findall(r"\((benchmarks/results/[a-z]+\.svg)\)", readme)
    assert len(shown) == 5
    assert all((RESULTS.parents[1] / path).is_file() for path in shown)


def test_page_and_pictures_are_made_again_without_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(RESULTS / "results.json", tmp_path)
    assert benchmarks.__main__.main(["--out", str(tmp_path), "--again"]) == 0
    assert capsys.readouterr().out.startswith("# Benchmarks: what was measured")
    assert (tmp_path / "results.json").read_bytes() == (RESULTS / "results.json").read_bytes()
    assert {each.name for each in tmp_path.iterdir()} == {each.name for each in RESULTS.iterdir()}
    (tmp_path / "results.json").write_text("{}")
    assert benchmarks.__main__.main(["--out", str(tmp_path), "--again"]) == 2
    assert "leave out --again" in capsys.readouterr().err


def test_only_what_is_between_the_marks_changes() -> None:
    found = msgspec.json.decode((RESULTS / "results.json").read_bytes(), type=Results)
    made = page.in_readme(f"before\n{page.FROM}\nold\n{page.TO}\nbehind\n", found)
    assert made.startswith(f"before\n{page.FROM}\n| ")
    assert made.endswith(f"\n{page.TO}\nbehind\n")
    assert "old" not in made
    with pytest.raises(SettingsError, match="has no lines"):
        page.in_readme("nothing", found)
