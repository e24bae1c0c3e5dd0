"""A training killed in the middle goes on as if nothing had been, and never with another recipe's state."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import toy_training
from toy_training import plain_recipe, training_cells

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import checkpoint, train  # noqa: E402
from calibration.checkpoint import load, save  # noqa: E402
from calibration.fit import Job  # noqa: E402
from edgecell.errors import SettingsError  # noqa: E402

MARKS = {"[network]": "a" * 64, "precision": "float32"}


def killed(work: Path, *more: str) -> None:
    """The toy training as a process, which gets SIGKILL in the middle of its 20 steps."""
    command = [sys.executable, toy_training.__file__, str(work), *more]
    environment = {**os.environ, "PYTHONPATH": str(Path(train.__file__).parents[1])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def same(one: object, other: object) -> bool:
    """To the bit, whatever is nested in what."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(torch.equal(one, other)) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a training that nobody killed left its files."""
    work = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    train.train(plain_recipe(work), training_cells(), {}, Job(name="toy", work=work, workers=0))
    return work


# 13 is in the middle of the second epoch. With 0 s each step leaves a checkpoint, with 60 only an epoch's end does.
@pytest.mark.parametrize(("save_every_s", "goes_on_after"), [("0", 12), ("60", 10)])
def test_a_killed_training_ends_as_one_that_was_not(
    whole: Path, save_every_s: str, goes_on_after: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed(tmp_path, "--kill-at", "13", "--save-every-s", save_every_s)
    assert torch.load(tmp_path / "toy.checkpoint.pt", weights_only=True)["state"]["step"] == goes_on_after
    (tmp_path / "toy.checkpoint.pt.half").write_bytes(b"what a kill in the middle of writing leaves")
    with caplog.at_level("INFO", "edgecell"):
        train.train(plain_recipe(tmp_path), training_cells(), {}, Job(name="toy", work=tmp_path, workers=0))
    assert f"going on after step {goes_on_after} of 20" in caplog.text
    for name in ("toy.pt", "toy.checkpoint.pt"):
        one, other = (torch.load(work / name, weights_only=True) for work in (whole, tmp_path))
        assert same(one, other), f"{name}: weights, averages, moments, rates and losses"
    assert (tmp_path / "toy.jsonl").read_bytes() == (whole / "toy.jsonl").read_bytes()
    assert (tmp_path / "toy.curves.svg").read_bytes() == (whole / "toy.curves.svg").read_bytes()


def test_a_finished_training_is_not_done_again_until_its_bundle_is_made(whole: Path) -> None:
    recipe, job = plain_recipe(whole), Job(name="toy", work=whole, workers=0)
    before = job.weights.stat().st_mtime_ns
    again = train.train(recipe, training_cells(), {}, job).state_dict()
    assert same(dict(again), torch.load(job.weights, weights_only=True))
    assert job.weights.stat().st_mtime_ns == before, "nothing was trained"


def test_another_recipe_or_other_cells_are_refused_by_name_and_begin_anew_when_told(tmp_path: Path) -> None:
    recipe, cells, job = plain_recipe(tmp_path, epochs=1), training_cells(), Job(name="toy", work=tmp_path, workers=0)
    train.train(recipe, cells, {}, job)
    wider = msgspec.structs.replace(recipe, network=msgspec.structs.replace(recipe.network, widths=(16, 48)))
    with pytest.raises(SettingsError, match=r"toy\.checkpoint\.pt is an unfinished training with another \[network\]"):
        train.train(wider, cells, {}, job)
    cells.windows[3, 8, 8] ^= 1
    with pytest.raises(SettingsError, match=r"another set of cells.* Fix: start over with --fresh"):
        train.train(recipe, cells, {}, job)
    stricter = msgspec.structs.replace(recipe.acceptance, error_of_decided=0.001)
    train.train(msgspec.structs.replace(recipe, acceptance=stricter), training_cells(), {}, job)
    train.train(wider, cells, {}, Job(name="toy", work=tmp_path, workers=0, fresh=True))
    assert torch.load(job.weights, weights_only=True)["head.weight"].shape[1] == 48
    job.done_with()
    train.train(recipe, training_cells(), {}, job)


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"step": 3, "lost": 0.1, "model": {"weight": torch.randn(3), "seen": torch.tensor(7)}, "epochs": [{"epoch": 1}]}
    save(tmp_path / "some.pt", MARKS, state)
    found = load(tmp_path / "some.pt", MARKS)
    assert found is not None
    assert same(found, state)
    assert [path.name for path in tmp_path.iterdir()] == ["some.pt"]
    assert load(tmp_path / "none.pt", MARKS) is None


@pytest.mark.parametrize(
    ("marks", "named"),
    [
        ({**MARKS, "precision": "bfloat16"}, r"another precision \(float32 there, bfloat16 now\)"),
        ({**MARKS, "[network]": "b" * 64}, r"another \[network\] \(aaaaaaaaaaaa\.\.\. there, bbbbbbbbbbbb\.\.\. now\)"),
        ({"[network]": "a" * 64}, r"another precision \(float32 there, none now\)"),
        ({**MARKS, "batch norm": "frozen"}, r"another batch norm \(none there, frozen now\)"),
    ],
)
def test_other_marks_are_refused(marks: checkpoint.Marks, named: str, tmp_path: Path) -> None:
    save(tmp_path / "some.pt", MARKS, {"step": 3})
    with pytest.raises(SettingsError, match=named):
        load(tmp_path / "some.pt", marks)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("nothing")
    torch.save({"head.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    for name in ("text.pt", "weights.pt"):
        with pytest.raises(SettingsError, match=rf"{name} is no checkpoint of an unfinished training\. Fix: .* --fresh"):
            load(tmp_path / name, MARKS)
