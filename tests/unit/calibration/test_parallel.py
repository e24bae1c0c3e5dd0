"""Two processes that torchrun starts train the network that one does; the batches, and so the losses, are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_training
from toy_training import plain_recipe, training_cells

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import parallel, train  # noqa: E402
from calibration.fit import Job  # noqa: E402
from calibration.parallel import Group, freeze, joined  # noqa: E402
from edgecell.errors import SettingsError  # noqa: E402

EPOCHS, WARM, FROZEN = 3, 10, 20
"""Of ten steps each; the first is the warm-up."""


def started(processes: int, work: Path, *more: str) -> "subprocess.Popen[str]":
    """The toy training under torchrun, on this machine's loopback."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    paths = os.pathsep.join([str(Path(train.__file__).parents[1]), str(Path(toy_training.__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [*launcher, toy_training.__file__, str(work), "--epochs", str(EPOCHS), *more]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def losses(work: Path, rank: int = 0) -> "np.typing.NDArray[np.float64]":
    return np.array(json.loads((work / f"losses-{rank}.json").read_text()))


def epoch_losses(work: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (work / "toy.jsonl").read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Where one process and two left what they trained."""
    works = {processes: tmp_path_factory.mktemp(f"of{processes}") for processes in (1, 2)}
    runs = [started(processes, work) for processes, work in works.items()]
    for run in runs:
        _, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
    return works


def test_two_processes_lose_what_one_does(works: dict[int, Path]) -> None:
    one, two = losses(works[1]), losses(works[2])
    assert len(one) == len(two) == WARM + FROZEN
    assert np.abs(one - two)[WARM:].max() < 1e-4
    assert np.array_equal(one[:WARM], two[:WARM]), "the warm-up is the same sums"
    assert np.array_equal(two, losses(works[2], 1)), "each process knows the loss of the whole batch"
    assert np.ptp(one[WARM:]) > 0.01, "and something is learnt"


def test_statistics_are_those_of_the_first_epoch(works: dict[int, Path]) -> None:
    states = [torch.load(works[size] / "toy.checkpoint.pt", weights_only=True)["state"] for size in (1, 2)]
    for name, value in states[0]["model"].items():
        if "running" in name:
            assert torch.equal(value, states[1]["model"][name]), name
        if "num_batches_tracked" in name:
            assert value == WARM
    assert torch.allclose(states[0]["average"]["head.weight"], states[1]["average"]["head.weight"], atol=1e-4)


def test_the_first_process_alone_writes(works: dict[int, Path]) -> None:
    begun, *epochs = [json.loads(line) for line in (works[2] / "toy.jsonl").read_text().splitlines()]
    assert (begun["processes"], begun["precision"]) == (2, "float32")
    assert begun["batch_norm"] == "frozen after the first epoch"
    assert [each["epoch"] for each in epochs] == [1, 2, 3]


def test_without_torchrun_batch_norm_is_of_each_batch(works: dict[int, Path], tmp_path: Path) -> None:
    """The same first epoch; then one process alone takes each batch's own statistics."""
    torch.set_num_threads(1)
    job = Job(name="toy", work=tmp_path, workers=0)
    train.train(plain_recipe(tmp_path, EPOCHS), training_cells(), {}, job)
    alone, together = (
        [json.loads(line).get("loss") for line in (work / "toy.jsonl").read_text().splitlines()]
        for work in (tmp_path, works[1])
    )
    assert alone[1] == together[1]
    assert abs(alone[2] - together[2]) > 1e-3
    with joined() as group:
        assert (group.first, group.size, group.launched) == (True, 1, False)


def test_more_processes_than_samples_are_refused(tmp_path: Path) -> None:
    job = Job(name="toy", work=tmp_path, group=Group(size=5))
    with pytest.raises(SettingsError, match="5 processes, but a batch of 4"):
        train.train(plain_recipe(tmp_path), training_cells(), {}, job)


def test_frozen_statistics_stay_while_weights_train() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)).train()
    freeze(model)
    assert model[2].training
    model(torch.randn(8, 3) + 5).sum().backward()
    assert model[1].running_mean.tolist() == [0.0] * 4
    assert model[1].weight.grad is not None


def test_alone_there_is_nobody_to_add_up_with() -> None:
    some = [torch.ones(3), torch.zeros(2)]
    parallel.add_up(some, parallel.ALONE)
    assert [each.tolist() for each in some] == [[1.0] * 3, [0.0] * 2]
    assert parallel.told("said", parallel.ALONE) == "said"
