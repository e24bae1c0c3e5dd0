"""`edgecell keys` and `python -m calibration sign`, as a lab uses them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_bundle import make_tiny_bundle, tiny_manifest

from calibration.commands.sign import command as sign
from edgecell.bundle import open_bundle, write_manifest
from edgecell.cli.check import command as check
from edgecell.cli.keys import command as keys
from edgecell.errors import BundleError, SettingsError
from edgecell.signature import SIGNATURE, Trust

pytest.importorskip("cryptography", reason="cryptography is not installed")


def made(folder: Path, name: str = "lab") -> tuple[Path, Path, str]:
    """The private and the public file, and the key's id as `new` prints it."""
    result = CliRunner().invoke(keys, ["new", name, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    found = re.search(r"public: .*\(key ([0-9a-f]{16});", result.stdout)
    assert found
    return folder / f"{name}.signing.key", folder / f"{name}.signing.pub", found[1]


def test_list_shows_both_files_of_a_key_by_its_id(tmp_path: Path) -> None:
    private, public, key = made(tmp_path / "keys")
    (tmp_path / "keys" / "notes.txt").write_text("not looked at")
    result = CliRunner().invoke(keys, ["list", str(tmp_path / "keys")])
    assert result.exit_code == 0
    assert result.stdout == f"{key}  private  {private}\n{key}  public   {public}\n"
    lines = CliRunner().invoke(keys, ["list", str(tmp_path / "keys"), "--json"]).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"key": key, "kind": "private", "file": str(private)},
        {"key": key, "kind": "public", "file": str(public)},
    ]


def test_list_names_every_key_that_is_not_fit_for_use(tmp_path: Path) -> None:
    private, public, key = made(tmp_path)
    private.chmod(0o644)
    (tmp_path / "torn.signing.pub").write_bytes(public.read_bytes()[:40])
    result = CliRunner().invoke(keys, ["list", str(tmp_path)])
    assert isinstance(result.exception, SettingsError)
    assert "chmod 600" in str(result.exception)
    assert "torn.signing.pub holds no public Ed25519 key" in result.stderr
    assert result.stdout == f"{key}  public   {public}\n"


def test_new_never_writes_over_a_key(tmp_path: Path) -> None:
    private, _, _ = made(tmp_path)
    before = private.read_bytes()
    result = CliRunner().invoke(keys, ["new", "lab", "--out", str(tmp_path)])
    assert isinstance(result.exception, SettingsError)
    assert private.read_bytes() == before


def test_sign_then_check(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    private, public, key = made(tmp_path / "keys")
    (tmp_path / "bench.toml").write_text(
        '[source]\npart = "phantom"\n[segmenter]\npart = "stain"\n[models]\nnucleated = "./tiny"\n'
        '[trust]\nrequire = "signature"\nkeys = ["keys/lab.signing.pub"]\n'
    )
    before = CliRunner().invoke(check, [str(tmp_path / "bench.toml")])
    assert isinstance(before.exception, BundleError)
    assert "is not signed" in str(before.exception)
    result = CliRunner().invoke(sign, [str(bundle.path), "--key", str(private)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{bundle.path / SIGNATURE}: signed by key {key}\n"
    after = CliRunner().invoke(check, [str(tmp_path / "bench.toml")])
    assert after.exit_code == 0, after.output
    assert (
        f"1 limit met, the closest tiny.accuracy 0.5, at least 0.25; signed by key {key}, verified with {public}"
        in after.stdout
    )


def test_sign_refuses_what_is_broken_bare_or_in_the_open(tmp_path: Path) -> None:
    private, public, _ = made(tmp_path)
    broken = make_tiny_bundle(tmp_path / "broken")
    (broken.path / "CARD.md").write_text("edited")
    bare = make_tiny_bundle(tmp_path / "bare")
    write_manifest(bare.path, tiny_manifest())
    good = make_tiny_bundle(tmp_path / "good")
    for bundle, key, says in (
        (broken, private, r"CARD\.md is not the file"),
        (bare, private, r"has no certificate\.json"),
        (good, public, "is open to others|no private Ed25519 key"),
    ):
        result = CliRunner().invoke(sign, [str(bundle.path), "--key", str(key)])
        assert re.search(says, str(result.exception)), result.output
        assert not (bundle.path / SIGNATURE).exists()


def test_signing_again_takes_the_place_of_the_old_signature(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    first, second = made(tmp_path, "first"), made(tmp_path, "second")
    for private, public, _ in (first, second):
        assert CliRunner().invoke(sign, [str(bundle.path), "--key", str(private)]).exit_code == 0
        opened = open_bundle(bundle.path, Trust(require="signature", keys=(str(public),)))
        assert opened.trusted_key == str(public)
    assert {path.name for path in bundle.path.iterdir()} == {*bundle.manifest.files, "manifest.json", SIGNATURE}
