"""An archive read on a real Dask cluster, workers killed with SIGKILL included: the results are those of one process."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command_line import ENVIRONMENT, PATIENCE_S
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from reread_archive import archive, contents, write_archive

from calibration.reread import binding, cluster, results
from calibration.reread.binding import WorkerMismatch
from calibration.reread.cluster import Tls, Where
from calibration.reread.reading import Job, Outcome
from calibration.reread.slides import slides
from edgecell import app
from edgecell.errors import SettingsError
from edgecell.settings import Settings

distributed = pytest.importorskip("distributed", reason="needs dask's distributed, which the workshop's requirements hold")
SOON_S = 0.005
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def alone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of the archive."""
    out = tmp_path_factory.mktemp("alone")
    archive(root, out).read(None, None, lambda _: None)
    return contents(out)


@contextmanager
def scheduler(**more: Any) -> Iterator[Any]:
    """A cluster in this process, without workers unless asked for."""
    settled = {
        "n_workers": 0,
        "processes": False,
        "protocol": "tcp",
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        **more,
    }
    with distributed.LocalCluster(**settled) as made:
        yield made


@contextmanager
def worker(address: str, folder: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`dask worker`, a process of its own that nobody starts again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads=1"]
    options = ["--host=127.0.0.1", "--no-dashboard", f"--local-directory={folder}"]
    with (folder / "worker.log").open("ab") as log:  # started elsewhere: its own folder comes first where Python looks
        process = subprocess.Popen([*command, *options], cwd=folder, env={**ENVIRONMENT, **environment}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[tuple[Where, dict[int, "subprocess.Popen[bytes]"]]]:
    """Where they work, and the two processes by their id."""
    with scheduler() as made, ExitStack() as stack:
        processes = [stack.enter_context(worker(made.scheduler_address, tmp_path)) for _ in range(2)]
        made.wait_for_workers(2, PATIENCE_S)
        place = cluster.where(made.scheduler_address.replace("tcp", "dask"))
        yield place, {process.pid: process for process in processes}


class Killer(threading.Thread):
    """Kills the worker that reads slide `ward/long` as soon as it has begun. left: what it leaves unfinished."""

    def __init__(self, out: Path, processes: dict[int, "subprocess.Popen[bytes]"]) -> None:
        super().__init__(daemon=True)
        self._out, self._processes = out, processes
        self.left: list[Path] = []

    def run(self) -> None:
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            for part in (self._out / "slides" / "ward").glob(f"{results.PART}*"):
                process = self._processes[int(part.name.split("-")[-2])]
                process.send_signal(signal.SIGSTOP)
                if part.exists() and b'"slide":"ward/long"' in part.read_bytes()[:1000]:
                    process.kill()
                    process.wait()
                    self.left.append(part)
                    return
                process.send_signal(signal.SIGCONT)
            time.sleep(SOON_S)


def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    root: Path,
    alone: dict[str, bytes],
    tmp_path: Path,
    two_workers: tuple[Where, dict[int, "subprocess.Popen[bytes]"]],
) -> None:
    place, processes = two_workers
    out, told = tmp_path / "out", list[Outcome]()
    killer = Killer(out, processes)
    killer.start()
    found = archive(root, out).read(place, None, told.append)
    killer.join()
    assert [process.poll() for process in processes.values()].count(-signal.SIGKILL) == 1
    assert len(killer.left) == 1, "killed in the middle of a slide"
    assert found.complete
    assert sorted(each.slide for each in told) == sorted(slide.name for slide in slides(root, of_file=False))
    assert not any(each.problem or each.kept for each in told)
    assert contents(out) == alone
    told.clear()
    archive(root, out).read(place, None, told.append)
    assert all(each.kept for each in told)


def test_a_worker_that_differs_is_refused(root: Path, tmp_path: Path) -> None:
    """One has another version of edgecell, one a package of our name that is not ours."""
    other, foreign = tmp_path / "other", tmp_path / "foreign"
    shutil.copytree(PROJECT / "edgecell", other / "edgecell", ignore=shutil.ignore_patterns("bundles", "__pycache__"))
    (other / "edgecell" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    (other / "calibration").symlink_to(PROJECT / "calibration")
    (foreign / "calibration").mkdir(parents=True)
    (foreign / "calibration" / "__init__.py").write_text("")
    said = {other: r"edgecell 0\.0\.1 instead of .*, code", foreign: r"cannot run this checkout: .*calibration"}
    with scheduler() as made:
        place = cluster.where(made.scheduler_address.replace("tcp", "dask"))
        for folder, words in said.items():
            path = os.pathsep.join([str(folder), str(PROJECT)])
            with worker(made.scheduler_address, tmp_path, PYTHONPATH=path):
                made.wait_for_workers(1, PATIENCE_S)
                with pytest.raises(WorkerMismatch, match=rf"worker tcp://\S+ .*{words}.*Fix: give every worker the same"):
                    archive(root, tmp_path / "out").read(place, None, lambda _: None)
            while made.scheduler.workers:
                time.sleep(SOON_S)
    assert not (tmp_path / "out" / "slides").exists()


def test_a_worker_that_joins_later_is_checked_too(root: Path, tmp_path: Path) -> None:
    """The job says who asks, and the worker compares."""
    [job, *_] = jobs(root, tmp_path / "out")
    made_with = msgspec.structs.replace(job.binding, environment=msgspec.structs.replace(binding.environment(), edgecell="9"))
    late = Job(root=job.root, out=job.out, slide=job.slide, settings=job.settings, binding=made_with)
    with scheduler(n_workers=1, threads_per_worker=1) as made, pytest.raises(WorkerMismatch, match="instead of 9"):
        cluster.run(iter([late]), cluster.where(made.scheduler_address.replace("tcp", "dask")), None, lambda _: None)


def jobs(root: Path, out: Path) -> list[Job]:
    """Every image a slide."""
    made_with = binding.binding(app.plan(Settings()))
    return [
        Job(root=str(root), out=str(out), slide=slide, settings=Settings(), binding=made_with)
        for slide in slides(root / "ward", of_file=True)
    ]


def test_processes_on_this_machine_give_the_same(root: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    found = archive(root, tmp_path / "out").read(cluster.where("processes:1"), None, lambda _: None)
    assert found.complete
    assert contents(tmp_path / "out") == alone


def test_over_tls_only_so_much_is_handed_out_as_can_be_worked_on(root: Path, tmp_path: Path) -> None:
    tls = certificates(tmp_path)
    todo, taken, done = jobs(root, tmp_path / "out"), list[Job](), list[Outcome]()

    def given() -> Iterator[Job]:
        for job in todo:
            taken.append(job)
            assert len(taken) - len(done) <= 2 * cluster.AHEAD
            yield job

    security = distributed.Security(
        tls_ca_file=tls.ca,
        **{f"tls_{role}_{part}": getattr(tls, part) for role in ("client", "worker", "scheduler") for part in ("cert", "key")},
        require_encryption=True,
    )
    with scheduler(n_workers=1, threads_per_worker=2, protocol="tls", security=security) as made:
        place = cluster.where(made.scheduler_address.replace("tls", "dask"))
        cluster.run(given(), place, tls, done.append)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(cluster, "CONNECT_S", 1.0)
            with pytest.raises(SettingsError, match=r"no Dask scheduler answers at tcp://.*--tls-ca"):
                cluster.run(iter([]), place, None, done.append)
    assert len(done) == len(todo) == 14
    assert not any(each.problem for each in done)


def certificates(folder: Path) -> Tls:
    """One key that vouches for itself, as a lab may make for its cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    signed = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(pem)
    return Tls(str(folder / "cert.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))


def test_a_cluster_that_is_not_there_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(SettingsError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9\b"):
        archive(root, tmp_path / "out").read(cluster.where("dask://127.0.0.1:9"), None, lambda _: None)
    with scheduler() as made, pytest.raises(SettingsError, match="has no worker"):
        archive(root, tmp_path / "out").read(cluster.where(made.scheduler_address.replace("tcp", "dask")), None, lambda _: None)
