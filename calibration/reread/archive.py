"""A whole archive: what is still to be read, who reads it, and what came out."""

import fcntl
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from calibration.reread import cluster, reading, results, summary
from calibration.reread.binding import Binding, WorkerMismatch, binding
from calibration.reread.cluster import Tls, Told, Where
from calibration.reread.reading import Job, Outcome
from calibration.reread.slides import slides
from calibration.reread.summary import Summary
from edgecell import app
from edgecell.errors import EdgecellError, SettingsError, SourceUnavailable
from edgecell.settings import Settings

LOG = logging.getLogger("calibration.reread")
LOCK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What to read and where to put it. root, out: absolute; on a cluster the same on every machine. of_file: each image is a
    slide of its own."""

    root: Path
    out: Path
    settings: Settings
    of_file: bool = False

    def counted(self) -> tuple[int, int]:
        """(slides, images). Raises SourceUnavailable if there are none."""
        images = [len(slide.files) for slide in slides(self.root, of_file=self.of_file)]
        if not images:
            raise SourceUnavailable(f"{self.root}: holds no images", fix="give the folder of an archive")
        return len(images), sum(images)

    def read(self, place: Where | None, tls: Tls | None, told: Told) -> Summary:
        """Read what is missing, in this process or at `place`, and write the summary of all of it.

        told: called for every slide, those that needed no reading included. Raises SettingsError, BundleError, WorkerMismatch,
        SourceUnavailable. A slide that cannot be read is in the summary, and the others are read.
        """
        made_with = binding(app.plan(self.settings))
        problems: dict[str, str] = {}

        def note(outcome: Outcome) -> None:
            if outcome.problem:
                problems[outcome.slide] = outcome.problem
                LOG.error("slide %s was not read: %s", outcome.slide, outcome.problem)
            told(outcome)

        with _alone(self.out):
            results.remove_parts(self.out)
            jobs = self._missing(made_with, told)
            if place is None:
                _one_by_one(jobs, note)
            else:
                cluster.run(jobs, place, tls, note)
            results.remove_parts(self.out)
            return self._summary(made_with, problems)

    def _missing(self, made_with: Binding, told: Told) -> Iterator[Job]:
        """The slides whose result is not there, or not of this binding or of these images."""
        for slide in slides(self.root, of_file=self.of_file):
            path = results.path_of(self.out, slide.name)
            if results.holds(results.read(path), path, slide, self.root, made_with):
                told(Outcome(slide=slide.name, images=len(slide.files), kept=True))
            else:
                settings = self.settings
                yield Job(root=str(self.root), out=str(self.out), slide=slide, settings=settings, binding=made_with)

    def _summary(self, made_with: Binding, problems: Mapping[str, str]) -> Summary:
        found = summary.merged(self.root, self.out, slides(self.root, of_file=self.of_file), made_with, problems)
        summary.write(found, self.out)
        return found


def opened(root: Path, out: Path, settings: Settings, *, of_file: bool = False) -> Archive:
    """An archive to be read. Only segmenter, engine, models and trust of the settings count."""
    plain = Settings(segmenter=settings.segmenter, engine=settings.engine, models=settings.models, trust=settings.trust)
    return Archive(root=root.resolve(), out=out.resolve(), settings=plain, of_file=of_file)


def _one_by_one(jobs: Iterator[Job], told: Told) -> None:
    for job in jobs:
        try:
            outcome = reading.read(job)
        except WorkerMismatch:
            raise
        except (EdgecellError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
            outcome = Outcome(slide=job.slide.name, images=len(job.slide.files), problem=problem)
        told(outcome)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else writes to the folder, which is made. The lock goes with the process, however it ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w")
    except OSError as error:
        raise SettingsError(f"--out {out}: {error.strerror}", fix="give a folder that can be written") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"--out {out}: another reread is writing there", fix="wait for it, or stop it") from None
        yield


def told_json(found: Summary) -> bytes:
    """The summary as `summary.json` has it."""
    return msgspec.json.encode(found, order="deterministic")
