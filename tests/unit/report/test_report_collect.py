"""What a report collects is what the journal says; what does not add up is not reported."""

from functools import partial
from pathlib import Path

import msgspec
import pytest
from bus_messages import CLASSES
from journal_windows import ended, started, window
from report_run import ADA, RUN, checked, collected, reviewed_run

from edgecell import tally
from edgecell.errors import JournalError
from edgecell.journal import chain
from edgecell.journal import replay as replaying
from edgecell.journal.cells import RunCells
from edgecell.journal.erase import erase
from edgecell.journal.events import RunResumed, Window
from edgecell.journal.journal import Journal
from edgecell.journal.reader import Reader, State
from edgecell.journal.recording import device_key
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import Reviews
from edgecell.journal.verify import verify
from edgecell.messages import NOTICE, FrameFates
from edgecell.report import words
from edgecell.report.run import Ended, RunReport
from edgecell.signature import key_id, new_keys, read_public, signed_by
from edgecell.wire import CountsMessage, Stop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes into it."""
    path = tmp_path_factory.mktemp("reviewed")
    reviewed_run(path)
    return path


@pytest.fixture(scope="module")
def report(folder: Path) -> RunReport:
    return collected(folder)[0]


def last_message(folder: Path) -> CountsMessage:
    with Reader.open(folder) as reader:
        *_, recorded = reader.messages(RUN, "counts/1")
    assert recorded.payload is not None
    return msgspec.json.decode(recorded.payload, type=CountsMessage)


def journal_of(folder: Path, *windows: Window) -> None:
    """A run with these windows, which goes on."""
    with Journal.open(folder) as journal:
        journal.append(started())
        for each in windows:
            journal.append(each, state=State(body=b""))


def otherwise(change: tuple[bytes, bytes]) -> Window:
    """A window whose message says something else than its cells."""
    message = bytes(window(0).message)
    assert message.count(change[0]) == 1
    return msgspec.structs.replace(window(0), message=msgspec.Raw(message.replace(*change)))


def test_the_machines_figures_are_those_of_the_last_message(folder: Path, report: RunReport) -> None:
    message = last_message(folder)
    assert report.machine.counts == message.cumulative
    assert (report.machine.unsure, report.machine.excluded) == (message.unsure, message.excluded)
    assert (report.machine.cells_total, report.machine.differential) == (300, message.differential)
    assert (report.frames, report.gated_reasons, report.counting) == (message.frames, {}, message.counting)
    assert (report.journal.position, report.journal.head) == (message.journal_position, message.chain_head)
    assert [msgspec.structs.asdict(each)["sha256"] for each in report.models] == [each.sha256 for each in message.models]


def test_the_reviewed_figures_are_those_of_the_reviews(folder: Path, report: RunReport) -> None:
    known = RunCells.open(folder, RUN)
    counted = known.reviewed()
    assert (report.reviewed.counts, report.reviewed.unsure) == (dict(counted.counts), counted.unsure)
    assert report.reviewed.excluded == {"edge": 30, "rejected": 1}
    assert report.reviewed.cells_total == report.machine.cells_total == 300
    assert report.reviewed.differential == tally.differential(counted, CLASSES)
    assert report.machine.unsure - report.reviewed.unsure == 2
    assert (report.review.cells, report.review.operators) == (3, (ADA,))
    assert report.review.signed_off is not None
    assert (report.review.signed_off.operator, report.review.signed_off.windows) == (ADA, report.windows)


def test_what_a_run_was_made_with(folder: Path, report: RunReport) -> None:
    with Reader.open(folder) as reader:
        begun = reader.run(RUN).started
    assert begun is not None
    assert (report.sample_id, report.device_id, report.began_utc) == (begun.sample_id, begun.device_id, begun.utc)
    assert report.settings_sha256 == begun.settings_sha256
    assert report.classes == tuple(begun.classes.values())
    assert report.notice == NOTICE
    assert report.ended is not None
    assert (report.ended.state, report.ended.complete) == ("stopped", True)


@pytest.mark.parametrize(("why", "told"), [("enough is counted: {}", "stopped, complete: enough is counted: {}"), ("", "{}")])
def test_a_rule_that_ended_the_run_is_told_once(report: RunReport, why: str, told: str) -> None:
    rule = Stop(cells=200, width=None, classes=(), now=201.0, progress=1.0, reached=True)
    end = Ended(state="stopped", complete=True, reason=why.format(rule), utc="")
    said = words.ending(msgspec.structs.replace(report, stop=rule, ended=end))
    assert said.endswith(told.format(rule))
    assert said.count(str(rule)) == 1


def test_whoever_sat_at_the_microscope_is_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started(operator="M. Curie"))
        journal.append(window(0), state=State(body=b""))
        for name in ("L. Meitner", "", "M. Curie"):
            again = RunResumed(run_id=RUN, utc="", clock_synced=True, version="0", windows=1, operator=name)
            journal.append(again)
    assert collected(tmp_path)[0].operators == ("M. Curie", "L. Meitner")


def test_windows_that_come_while_it_is_collected_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(tmp_path, window(0))
    monkeypatch.setattr("edgecell.report.collect.replay", partial(_and_one_more, tmp_path))
    report, _ = collected(tmp_path)
    assert (report.windows, report.frames.processed) == (1, 2)
    assert collected(tmp_path)[0].windows == 2


def _and_one_more(folder: Path, reader: Reader, run_id: str) -> replaying.Replayed:
    """Counts a run again; meanwhile the run writes."""
    found = replaying.replay(reader, run_id)
    with Journal.open(folder) as journal:
        journal.append(window(found.windows), state=State(body=b""))
    return found


def test_the_places_in_both_chains_are_told_with_their_signatures(tmp_path: Path) -> None:
    private, public = new_keys("device", tmp_path / "keys")
    key, folder = device_key(str(private)), tmp_path / "journal"
    with Journal.open(folder, key) as journal:
        journal.append(started())
        journal.append(window(0), state=State(body=b""))
        journal.append(ended())
    assert collected(folder)[0].reviews is None
    known = RunCells.open(folder, RUN)
    with Reviews.open(folder, key) as reviews:
        review(reviews, known, [(0, 0)], "reject", "", ADA)
        sign_off(reviews, RunCells.open(folder, RUN), ADA)
    report, _ = collected(folder)
    assert report.reviews is not None
    assert (report.journal.position, report.reviews.position) == (2, 2)
    found = verify(folder, checks=partial(signed_by, read_public(public)))
    assert found.reviews is not None
    assert (found.broken, found.reviews.broken, found.reviews.head) == ("", "", report.reviews.head)
    for place in (report.journal, report.reviews):
        assert place.key == key_id(read_public(public))
        assert signed_by(read_public(public), bytes.fromhex(place.signature), chain.SIGNED + bytes.fromhex(place.head))


def test_the_quality_check_is_the_devices_latest_before_the_run(report: RunReport) -> None:
    check = report.quality_check
    assert check is not None
    assert (check.slide, check.passed, check.position) == ("QC-3", False, 2)
    assert check.rows == checked().rows


def test_the_same_journal_gives_the_same_report(folder: Path, report: RunReport) -> None:
    assert msgspec.json.encode(collected(folder)[0]) == msgspec.json.encode(report)


def test_a_run_that_goes_on_is_reported_as_such(tmp_path: Path) -> None:
    journal_of(tmp_path, window(0), window(1))
    report, _ = collected(tmp_path)
    assert (report.ended, report.windows, report.frames.in_flight) == (None, 2, 1)
    assert (report.review.cells, report.review.signed_off, report.quality_check) == (0, None, None)
    assert report.reviewed == report.machine


def test_windows_that_are_not_valid_are_counted_by_reason(tmp_path: Path) -> None:
    broken = otherwise((b'"valid":true,"invalid_reason":""', b'"valid":false,"invalid_reason":"lamp off"'))
    journal_of(tmp_path, broken)
    assert collected(tmp_path)[0].windows_invalid == {"lamp off": 1}


@pytest.mark.parametrize(
    "change",
    [(b'"unsure":2', b'"unsure":3'), (b'"edge":2', b'"edge":1'), (b'"processed":2', b'"processed":1'), (b'"n":2', b'"n":4')],
)
def test_a_run_whose_totals_do_not_reconcile_is_refused(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    journal_of(tmp_path, otherwise(change))
    with pytest.raises(JournalError, match="do not reconcile: window 0") as caught:
        collected(tmp_path)
    assert "edgecell journal verify" in caught.value.fix


def test_reviews_of_another_journal_are_refused(tmp_path: Path) -> None:
    """As when a journal is put back from a copy, and its reviews are not."""
    reviewed_run(tmp_path, cells=100)
    known = RunCells.open(tmp_path, RUN)
    unsure = known.view("unsure")[:9]
    for path in tmp_path.glob("journal.sqlite*"):
        path.unlink()
    journal_of(tmp_path, window(0))
    with pytest.raises(JournalError, match=r"are not those that Ada L\. <i>& signed off"):
        collected(tmp_path)
    with Reviews.open(tmp_path) as reviews:
        review(reviews, known, unsure, "confirm", "", "Bob")
    with pytest.raises(JournalError, match="do not reconcile: the reviews are of other cells"):
        collected(tmp_path)


def test_a_sign_off_stands_no_more_once_something_is_said(tmp_path: Path) -> None:
    reviewed_run(tmp_path, cells=100)
    known = RunCells.open(tmp_path, RUN)
    with Reviews.open(tmp_path) as reviews:
        review(reviews, known, known.view("reviewed")[:1], "undo", "", "Bob")
    report, _ = collected(tmp_path)
    assert (report.review.cells, report.review.signed_off) == (2, None)


def test_an_erased_run_and_one_without_a_window_are_refused(tmp_path: Path) -> None:
    journal_of(tmp_path / "empty")
    with pytest.raises(JournalError, match="has no window yet"):
        collected(tmp_path / "empty")
    with pytest.raises(JournalError, match="has no run 'run-b'"):
        collected(tmp_path / "empty", "run-b")
    journal_of(tmp_path / "erased", window(0))
    with Journal.open(tmp_path / "erased") as journal:
        journal.append(ended())
    erase(tmp_path / "erased", "slide-17", None)
    with pytest.raises(JournalError, match="was erased"):
        collected(tmp_path / "erased")


def test_frames_of_every_fate_are_in_it(tmp_path: Path) -> None:
    journal_of(tmp_path, window(0))
    report, _ = collected(tmp_path)
    assert msgspec.structs.asdict(report.frames).keys() == FrameFates.__dataclass_fields__.keys()
    assert report.gated_reasons == {"blurred": 1}
