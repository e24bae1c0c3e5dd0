"""Slides on the workers of a Dask cluster: a running one, or one of processes on this machine.

At most two slides a thread are handed out at a time, so that an archive of any size takes no memory here. When a worker
dies, the scheduler gives its slides to others. A slide that takes one worker after the other down with it is given up; so is
one whose reading fails again and again.
"""

import logging
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from calibration.reread import binding, reading
from calibration.reread.binding import WorkerMismatch
from calibration.reread.reading import Job, Outcome
from edgecell.errors import MissingDependency, SettingsError, SourceUnavailable

LOG = logging.getLogger("calibration.reread")

AHEAD = 2
"""Slides a thread that are handed out: one to work on, one to go on with."""
RETRIES = 2
"""Times that a slide is read again after an error that no image is to blame for, such as a file server that is away."""
CONNECT_S = 30.0
LOOK_S = 5.0
"""How often the cluster is looked at while nothing comes back."""
_WHERE = re.compile(r"dask://(?P<address>[^/\s]+:\d+)|processes(?::(?P<count>[1-9]\d*))?")


class Tls(NamedTuple):
    """Files in PEM form: the authority that signed everyone's certificates, our certificate and its key."""

    ca: str
    cert: str
    key: str


class Where(NamedTuple):
    """address: of a scheduler, HOST:PORT; or None for processes on this machine. processes: how many, None for one a core."""

    address: str | None
    processes: int | None


Told = Callable[[Outcome], None]
"""Called for every slide that is done with."""


def where(text: str) -> Where:
    """`dask://HOST:PORT`, `processes` or `processes:N`. Raises SettingsError."""
    match = _WHERE.fullmatch(text)
    if match is None:
        raise SettingsError(f"--on {text!r} is no place to work", fix="write dask://HOST:PORT, processes or processes:4")
    return Where(match["address"], int(match["count"]) if match["count"] else None)


def run(jobs: Iterator[Job], place: Where, tls: Tls | None, told: Told) -> None:
    """Read all slides of `jobs`, taken as they can be handed out. Raises SettingsError, WorkerMismatch, SourceUnavailable."""
    with _client(place, tls) as client:
        _check_workers(client)
        _hand_out(client, jobs, told)


@contextmanager
def _client(place: Where, tls: Tls | None) -> Iterator[Any]:
    distributed = _distributed()
    if place.address is None:
        with (
            distributed.LocalCluster(
                n_workers=place.processes,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    address = f"{'tls' if tls else 'tcp'}://{place.address}"
    try:
        client = distributed.Client(address, timeout=CONNECT_S, security=_security(distributed, tls))
    except (OSError, distributed.TimeoutError) as error:
        fix = "start `dask scheduler` there, and give --tls-ca, --tls-cert and --tls-key if it asks for them"
        raise SettingsError(f"no Dask scheduler answers at {address}: {error}", fix=fix) from None
    with client:
        yield client


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        fix = "install the workshop's requirements, which hold dask's `distributed`"
        raise MissingDependency(f"--on needs the library distributed: {error}", fix=fix) from None
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of every connection otherwise
    return distributed


def _security(distributed: Any, tls: Tls | None) -> Any:
    if tls is None:
        return None
    return distributed.Security(tls_ca_file=tls.ca, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True)


def _check_workers(client: Any) -> None:
    """Raises WorkerMismatch for a worker that is not like this process, SettingsError if there is none."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except _distributed().TimeoutError:
        fix = "start `dask worker` in the environment of this checkout"
        raise SettingsError("the Dask cluster has no worker", fix=fix) from None
    mine = binding.environment()
    for worker, theirs in client.run(binding.environment, on_error="return").items():
        if isinstance(theirs, BaseException):
            raise WorkerMismatch(f"worker {worker} cannot run this checkout: {theirs}", fix=binding.CHECKOUT_FIX)
        binding.check(mine, theirs, f"worker {worker}")


def _hand_out(client: Any, jobs: Iterator[Job], told: Told) -> None:
    distributed, run_id = _distributed(), uuid.uuid4().hex[:8]
    out: dict[Any, Job] = {}
    waiting = False
    while True:
        threads = sum(client.nthreads().values())
        if not threads and not waiting:
            LOG.warning("the cluster has no worker left: waiting for one to come back")
        waiting = not threads
        while len(out) < AHEAD * max(1, threads) and (job := next(jobs, None)) is not None:
            key = f"reread-{run_id}-{job.slide.name}"
            out[client.submit(reading.read, job, key=key, pure=False, retries=RETRIES)] = job
        if not out:
            return
        try:
            done = distributed.wait(list(out), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
        except distributed.TimeoutError:
            continue
        for future in done:
            told(_outcome(future, out.pop(future)))
            future.release()


def _outcome(future: Any, job: Job) -> Outcome:
    """What a finished future says. Raises WorkerMismatch, SourceUnavailable for a scheduler that is gone."""
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.status != "error":
        fix = "start the cluster again, then run the same command: what is done stays done"
        raise SourceUnavailable(f"the Dask scheduler has lost slide {job.slide.name} ({future.status})", fix=fix)
    error = future.exception()
    if isinstance(error, WorkerMismatch):
        raise error
    problem = f"{type(error).__name__}: {error}"
    return Outcome(slide=job.slide.name, images=len(job.slide.files), problem=problem)
