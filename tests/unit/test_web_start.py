"""What a page asks for when a run begins becomes a command line that means just that."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from bus_messages import heartbeat
from click.testing import CliRunner
from web_requests import requested, station

from edgecell import clock
from edgecell.cli import run
from edgecell.web.child import Child
from edgecell.web.runs import RECENT_S
from edgecell.web.start import Start, Stop, command_line

JOURNAL, ENDPOINT = Path("/var/lib/edgecell/journal"), "tcp://127.0.0.1:5556"
ASKED: dict[str, Any] = {"settings": "phantom", "sample_id": "17", "operator": "Eva"}
NASTY = ["--help", "-", "a b", "$(reboot)", "'; rm -rf /", "=x", "ä ö", "{}", "\u202e", "x" * 128]


def parsed(asked: Start, settings: Path | None = None) -> dict[str, Any]:
    """What `edgecell run` makes of the command line."""
    name, *arguments = command_line(asked, "id-1", settings, JOURNAL, ENDPOINT)
    assert name == "run"
    context = run.command.make_context("run", arguments)
    return context.params


@pytest.mark.parametrize("text", NASTY)
def test_every_text_arrives_as_it_is(text: str) -> None:
    told = parsed(Start(settings="phantom", sample_id=text, operator=text))
    assert (told["sample_id"], told["operator"]) == (text, text)
    assert (told["run_id"], told["journal"], told["endpoint"]) == ("id-1", str(JOURNAL), ENDPOINT)
    assert (told["source"], told["settings_file"], told["as_json"]) == ("phantom", None, True)


def test_settings_stand_in_for_the_phantom_slide() -> None:
    told = parsed(Start(**ASKED), Path("/etc/edgecell/bench.toml"))
    assert (told["source"], told["settings_file"]) == (None, Path("/etc/edgecell/bench.toml"))


@pytest.mark.parametrize("crops", [True, False])
@pytest.mark.parametrize("preview", [True, False])
def test_crops_and_preview_are_as_asked(crops: bool, preview: bool) -> None:
    told = parsed(Start(**ASKED, crops=crops, preview=preview))
    assert (told["crops"], told["preview"]) == (crops, preview)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sample_id": ""}, "sample_id"),
        ({"sample_id": "x" * 129}, "sample_id"),
        ({"sample_id": "a\nb"}, "sample_id"),
        ({"sample_id": "a\n"}, "sample_id"),
        ({"sample_id": "  "}, "sample_id"),
        ({"operator": " "}, "operator"),
        ({"operator": "\x00"}, "operator"),
        ({"operator": 3}, "operator"),
        ({"settings": "none"}, "settings"),
        ({"stop": {}}, "stop"),
        ({"stop": {"cells": 0}}, "stop.cells"),
        ({"stop": {"cells": 5, "width": 5.0, "classes": ["blast"]}}, "stop"),
        ({"stop": {"width": 5.0}}, "stop"),
        ({"stop": {"cells": 100, "classes": ["blast"]}}, "stop"),
        ({"stop": {"width": 5.0, "classes": [""]}}, "stop.classes"),
        ({"crops": "yes"}, "crops"),
        ({"more": 1}, ""),
    ],
)
def test_what_cannot_be_begun_is_refused_with_its_field(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    answer = requested(station(tmp_path), "POST", "/api/run", json={**ASKED, **changes})
    told = answer.json()
    assert (answer.status_code, told["field"]) == (422, field), told
    assert "regex" not in told["error"]
    assert told["error"]
    assert told["fix"]
    assert not (tmp_path / "serve").exists()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"settings":"phantom"}'])
def test_rubbish_is_refused(tmp_path: Path, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert requested(station(tmp_path), "POST", "/api/run", content=body, headers=headers).status_code == 422


def test_settings_that_are_wrong_are_told_of_before_a_run_begins(tmp_path: Path) -> None:
    at, file = station(tmp_path), tmp_path / "bench.toml"
    file.write_text('sample = "17"\n')
    at.runs.settings = {"bench": file}
    (shown,) = requested(at, "GET", "/api/me").json()["settings"]
    assert (shown["name"], shown["specimen"]) == ("bench", "")
    assert "unknown key sample" in shown["error"]
    answer = requested(at, "POST", "/api/run", json={**ASKED, "settings": "bench"})
    told = answer.json()
    assert (answer.status_code, told["field"], told["error"]) == (422, "settings", shown["error"])
    assert "did you mean sample_id?" in told["fix"]


def test_a_run_s_options_exclude_each_other_in_words() -> None:
    for line, said in [
        (["--run-id", "a", "--resume", "b"], "--run-id is for a new run"),
        (["--crops", "--no-journal"], "--crops keeps pictures in the journal"),
        (["--preview", "--publish", "tcp://0.0.0.0:5556"], "needs keys"),
    ]:
        ended = CliRunner().invoke(run.command, line)
        assert ended.exit_code != 0
        assert said in ended.output + str(ended.exception)


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (Stop(cells=200), ["--until-cells=200"]),
        (Stop(width=5.0, classes=("blast",)), ["--until-width=5", "--of=blast"]),
        (Stop(width=2.5, classes=("--of", "a b")), ["--until-width=2.5", "--of=--of", "--of=a b"]),
    ],
)
def test_stop_rules(stop: Stop, options: list[str]) -> None:
    line = command_line(Start(**ASKED, stop=stop), "a", None, JOURNAL, ENDPOINT)
    assert line[-len(options) :] == options


def test_a_run_that_goes_on_elsewhere_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    at, unknown = station(tmp_path), {**ASKED, "settings": "none"}
    at.runs.heard(heartbeat(run_id="of the service"))
    answer = requested(at, "POST", "/api/run", json=unknown)
    assert (answer.status_code, answer.json()["error"]) == (409, "the run of the service, which was not begun here, goes on")
    answer = requested(at, "DELETE", "/api/run")
    assert (answer.status_code, answer.json()["fix"]) == (409, "stop it where it was begun")
    now[0] += round(RECENT_S * 1e9)  # it fell silent
    assert requested(at, "POST", "/api/run", json=unknown).status_code == 422
    at.runs.heard(heartbeat(run_id="of the service"))
    at.runs.heard(heartbeat(run_id="of the service", state="stopped"))
    assert requested(at, "POST", "/api/run", json=unknown).status_code == 422


def test_a_run_that_no_process_could_be_made_for_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Child:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Child, "begin", refused)
    at = station(tmp_path)
    at.runs.open()
    answer = requested(at, "POST", "/api/run", json=ASKED)
    assert (answer.status_code, answer.json()["error"]) == (500, "the run cannot be begun: Cannot allocate memory")
    assert [path.name for path in (tmp_path / "serve").iterdir()] == ["lock"]
    asyncio.run(at.runs.close())
