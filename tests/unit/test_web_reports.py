"""The page's reports: each form as a file, and a refusal that says why."""

from pathlib import Path

import httpx
import msgspec
import pytest
from journal_windows import started, window
from report_run import RUN, collected, reviewed_run
from web_requests import requested, station

from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import NOTICE
from edgecell.report import fhir, form, table


def asked(folder: Path, name: str, run_id: str = RUN) -> httpx.Response:
    return requested(station(folder), "GET", f"/api/runs/{run_id}/report.{name}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes into it."""
    path = tmp_path_factory.mktemp("reviewed")
    reviewed_run(path)
    return path


def test_each_form_is_what_the_command_writes(folder: Path) -> None:
    report, said = collected(folder)
    expected = {
        "pdf": ("application/pdf", form.pdf(folder, report, said)),
        "csv": ("text/csv; charset=utf-8", table.write(report)),
        "fhir.json": ("application/fhir+json", fhir.write(report)),
        "json": ("application/json", msgspec.json.encode(report)),
    }
    for name, (media_type, content) in expected.items():
        answer = asked(folder, name)
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, media_type, content)
        assert answer.headers["content-disposition"] == f'attachment; filename="run-a.{name}"'
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("name", "run_id"), [("docx", RUN), ("pdf", "run-b"), ("hl7", RUN)])
def test_what_is_not_there(folder: Path, name: str, run_id: str) -> None:
    answer = asked(folder, name, run_id)
    assert (answer.status_code, answer.json()["notice"]) == (404, NOTICE)
    assert answer.json()["fix"]


def test_a_run_that_does_not_add_up_is_refused_in_words(tmp_path: Path) -> None:
    message = msgspec.Raw(bytes(window(0).message).replace(b'"unsure":2', b'"unsure":1'))
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(msgspec.structs.replace(window(0), message=message), state=State(body=b""))
    answer = asked(tmp_path, "json")
    assert answer.status_code == 409
    assert "do not reconcile: window 0: unsure" in answer.json()["error"]
    assert "edgecell journal verify" in answer.json()["fix"]


def test_a_report_needs_a_session_where_there_is_a_token(folder: Path) -> None:
    answer = requested(station(folder, "secret-token-of-the-page"), "GET", f"/api/runs/{RUN}/report.json")
    assert answer.status_code == 401
    assert RUN not in answer.text
