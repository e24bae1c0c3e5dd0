"""A run that another program begins: it has the id that was given, names its operator in the journal, and keeps pictures."""

from pathlib import Path

from command_line import called
from journal_windows import started
from serving import small_settings

from edgecell.journal.events import RunResumed, RunStarted, Window
from edgecell.journal.reader import Reader
from edgecell.journal.recording import recording
from edgecell.settings import JournalSettings
from edgecell.wire import from_wire


def test_it_is_known_by_its_id_and_names_its_operator_in_the_journal_alone(tmp_path: Path) -> None:
    settings, journal = small_settings(tmp_path, frames=30, fps=None), tmp_path / "journal"
    line = ["run", settings, "--publish", f"ipc://{tmp_path}/bus", "--journal", journal, "--json", "--operator", "Eva Ö."]
    ended = called(*line, "--run-id", "of-the-page-1", "--crops", "--preview", "--sample-id", "17")
    assert ended.code == 0, ended.err
    assert "Eva" not in ended.out + ended.err
    counts = from_wire(ended.out.splitlines()[-2].encode())
    assert counts.run_id == "of-the-page-1"
    with Reader.open(journal) as reader:
        run = reader.run("of-the-page-1")
        cells = [cell for _, window in reader.windows("of-the-page-1") if isinstance(window, Window) for cell in window.cells]
    assert run.started is not None
    assert (run.started.operator, run.started.sample_id) == ("Eva Ö.", "17")
    assert any(cell.crop for cell in cells)
    refused = called(*line, "--run-id", "of-the-page-1")
    assert (refused.code, "there is a run of-the-page-1 already" in refused.err) == (8, True)
    for bad in ("../x", "a b", "x" * 65):
        refused = called(*line, "--run-id", bad)
        assert (refused.code, "is no run's id" in refused.err) == (8, True)


def test_who_goes_on_with_a_run_is_named_too(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path))
    for who, resume in (("Eva", None), ("Ada", "run-a")):
        with recording(settings, started(operator=who), resume) as recorder:
            recorder.start()
    with Reader.open(tmp_path) as reader:
        events = [reader.event(row) for row in reader.rows()]
    assert [(type(each), each.operator) for each in events if isinstance(each, RunStarted | RunResumed)] == [
        (RunStarted, "Eva"),
        (RunResumed, "Ada"),
    ]
