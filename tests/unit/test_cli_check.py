"""`edgecell check` on good and bad settings. Engine and segmenter are stand-ins: what is tested is how parts are looked at."""

import errno
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from tiny_bundle import make_tiny_bundle

from edgecell.cli import check
from edgecell.errors import BundleError, EdgecellError, JournalError, SettingsError
from edgecell.journal import store
from edgecell.protocols import Probe


class NoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    threads: int = 1


class StandIn:
    Options = NoOptions

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=False, version="", missing="no driver: install one")


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("segmenter", "engine"):
        monkeypatch.setitem(check.TABLES, role, dict.fromkeys(("stain", "network", "onnxrt"), f"{__name__}:StandIn"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "tiny").path


def checked(folder: Path, text: str, *options: str) -> Result:
    (folder / "bench.toml").write_text(text)
    return CliRunner().invoke(check.command, [str(folder / "bench.toml"), *options])


GOOD = 'models = {nucleated = "./tiny"}\n[publisher]\nendpoint = "ipc:///tmp/never-opened"\n'


def test_good_settings_pass_and_what_lacks_here_is_a_warning(tmp_path: Path, bundle: Path) -> None:
    result = checked(tmp_path, GOOD + '[engine]\npart = "onnxrt"')
    assert result.exit_code == 0, result.output
    assert "ok  models.nucleated: tiny" in result.stdout
    assert "bench.toml is good" in result.stdout
    assert "warning: engine is not usable on this machine: no driver" in result.stderr
    assert not Path("/tmp/never-opened").exists()  # noqa: S108


def test_json_has_one_finding_a_line(tmp_path: Path, bundle: Path) -> None:
    text = GOOD + '[engine]\npart = "onnxrt"'
    findings = [json.loads(line) for line in checked(tmp_path, text, "--json").stdout.splitlines()]
    assert [each["subject"] for each in findings] == [
        "source",
        "segmenter",
        "engine",
        "publisher",
        "models.nucleated",
        "journal",
    ]
    assert all(each["ok"] for each in findings)
    assert findings[2]["warning"]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (GOOD + "[run]\nwindow_z = 1", SettingsError, "did you mean window_s?"),
        (GOOD + "[run\n", SettingsError, "not valid TOML"),
        (GOOD + '[source]\npart = "image"', SettingsError, "unknown source 'image'"),
        (GOOD + "[source]\nsede = 3", SettingsError, "did you mean seed?"),
        (GOOD + "[engine]\npart = 'onnxrt'\nthreads = 'two'", SettingsError, "threads: expected `int`"),
        (GOOD.replace("ipc:///tmp/never-opened", "tcp://0.0.0.0:1"), SettingsError, "that needs keys"),
        (GOOD.replace("ipc:///tmp/never-opened", "5556"), SettingsError, "tcp://HOST:PORT"),
        (GOOD.replace("./tiny", "no-such"), BundleError, "no-such"),
        (GOOD + "[journal]\nkey = 'none.signing.key'", SettingsError, "cannot read private key"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, bundle: Path, text: str, error: type[EdgecellError], words: str) -> None:
    result = checked(tmp_path, text)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


def test_a_flipped_byte_in_a_bundle_is_found(tmp_path: Path, bundle: Path) -> None:
    model = next(bundle.glob("*.onnx"))
    raw = bytearray(model.read_bytes())
    raw[len(raw) // 2] ^= 1
    model.write_bytes(bytes(raw))
    result = checked(tmp_path, GOOD)
    assert isinstance(result.exception, BundleError)
    assert result.exception.exit_code == 4


def test_every_mistake_is_reported_not_only_the_first(tmp_path: Path, bundle: Path) -> None:
    shutil.rmtree(bundle)
    result = checked(tmp_path, GOOD + "[source]\nsede = 3")
    assert "did you mean seed?" in str(result.exception)
    assert "no bundle" in result.stderr


def test_help_teaches_by_example() -> None:
    assert "edgecell check bench.toml" in CliRunner().invoke(check.command, ["--help"]).output


def kept_journal(folder: Path, *, schema: int) -> str:
    """Settings with a journal that is there, of this version of the schema."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / store.FILE)) as file:
        for script in store.MIGRATIONS[:schema]:
            file.executescript(script)
        file.execute(f"PRAGMA application_id = {store.APPLICATION}")
        file.execute(f"PRAGMA user_version = {schema}")
    return f"{GOOD}[journal]\npath = {str(folder)!r}"


def test_an_older_journal_is_told_of_and_left_as_it_is(tmp_path: Path, bundle: Path) -> None:
    text = kept_journal(tmp_path / "journal", schema=1)
    before = (tmp_path / "journal" / store.FILE).read_bytes()
    result = checked(tmp_path, text)
    assert result.exit_code == 0, result.output
    assert f"brings it from schema 1 to {store.VERSION}, and older edgecells refuse it" in result.stdout
    assert (tmp_path / "journal" / store.FILE).read_bytes() == before


def test_a_journal_of_this_schema_is_nothing_to_speak_of(tmp_path: Path, bundle: Path) -> None:
    assert "the next run brings it" not in checked(tmp_path, kept_journal(tmp_path / "journal", schema=store.VERSION)).stdout


def test_a_newer_journal_is_refused_with_the_way_out(tmp_path: Path, bundle: Path) -> None:
    error = checked(tmp_path, kept_journal(tmp_path / "journal", schema=store.VERSION + 1)).exception
    assert isinstance(error, JournalError)
    assert f"schema version {store.VERSION + 1}; this edgecell knows up to {store.VERSION}" in error.what
    assert "path in [journal]" in error.fix


def test_what_is_no_journal_is_refused(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / store.FILE).write_bytes(b"no database at all" * 100)
    error = checked(tmp_path, f"{GOOD}[journal]\npath = {str(tmp_path)!r}").exception
    assert isinstance(error, JournalError)
    assert "no journal" in error.what


def test_a_journal_that_others_keep_to_themselves_is_a_warning(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / store.FILE))

    monkeypatch.setattr(store, "schema_of", refuse)  # the tests may be run by root, who may read all
    result = checked(tmp_path, GOOD)
    assert result.exit_code == 0
    assert "may not be read by this user" in result.stderr


def test_the_limits_of_the_quality_check_are_looked_at(tmp_path: Path, bundle: Path) -> None:
    text = f'[models]\nnucleated = "{bundle}"\n[segmenter]\npart = "stain"\n[qc]\nlimits = "qc.toml"\n'
    missing = checked(tmp_path, text)
    assert missing.exit_code == 0
    assert "make it with edgecell qc --set-reference" in missing.stderr
    (tmp_path / "qc.toml").write_text('slide = "QC"\nfields = 2\n', encoding="utf-8")
    refused = checked(tmp_path, text)
    assert isinstance(refused.exception, SettingsError)
    assert str(tmp_path / "qc.toml") in refused.exception.what
