"""`edgecell check` on good and bad settings. Engine and segmenter are stand-ins: what is tested is how parts are looked at."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from tiny_bundle import make_tiny_bundle

from edgecell.cli import check
from edgecell.errors import BundleError, EdgecellError, SettingsError
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
