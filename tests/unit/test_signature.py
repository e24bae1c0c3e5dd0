"""Signatures: whose key vouches for a bundle, and what each policy lets through."""

import json
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tiny_bundle import make_tiny_bundle, tiny_manifest

from edgecell import app, settings
from edgecell.bundle import Bundle, open_bundle, write_manifest
from edgecell.certificate import CERTIFICATE, canonical
from edgecell.errors import BundleCorrupt, BundleError, EdgecellError, MissingDependency, SettingsError
from edgecell.signature import PRIVATE, PUBLIC, SIGNATURE, Trust, key_id, new_keys, read_private, read_public, sign

pytest.importorskip("cryptography", reason="cryptography is not installed")


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Path, Path]:
    return new_keys("lab", tmp_path / "keys")


def signed_by(*keys: Path) -> Trust:
    return Trust(require="signature", keys=tuple(map(str, keys)))


def test_keys_are_for_their_owner_alone_and_are_a_pair(lab: tuple[Path, Path]) -> None:
    private, public = lab
    assert (private.name, public.name) == (f"lab{PRIVATE}", f"lab{PUBLIC}")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) & 0o022 == 0
    assert b"PRIVATE" in private.read_bytes()
    assert b"PRIVATE" not in public.read_bytes()
    assert key_id(read_private(private).public_key()) == key_id(read_public(public))


def test_no_key_is_written_over(lab: tuple[Path, Path], tmp_path: Path) -> None:
    before = [path.read_bytes() for path in lab]
    with pytest.raises(SettingsError, match=r"lab\.signing\.key is there already"):
        new_keys("lab", tmp_path / "keys")
    lab[0].rename(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match=r"lab\.signing\.pub is there already"):
        new_keys("lab", tmp_path / "keys")
    assert not lab[0].exists()
    assert [(tmp_path / "elsewhere").read_bytes(), lab[1].read_bytes()] == before


@pytest.mark.parametrize("name", ["", "../lab", "a/b", ".lab", "-lab", "la b"])
def test_a_name_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no name for a key"):
        new_keys(name, tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_private_key_that_others_can_open_is_refused(lab: tuple[Path, Path], mode: int) -> None:
    lab[0].chmod(mode)
    with pytest.raises(SettingsError, match=rf"is open to others \(mode {mode:04o}\)\. Fix: chmod 600 .*lab\.signing\.key"):
        read_private(lab[0])


def test_what_is_no_key_is_named(lab: tuple[Path, Path], tmp_path: Path) -> None:
    lab[1].chmod(0o600)
    with pytest.raises(SettingsError, match=r"lab\.signing\.pub holds no private Ed25519 key"):
        read_private(lab[1])
    with pytest.raises(SettingsError, match=r"lab\.signing\.key holds no public Ed25519 key.*signing\.pub"):
        read_public(lab[0])
    with pytest.raises(SettingsError, match="cannot read public key"):
        read_public(tmp_path / "none.pub")
    with pytest.raises(SettingsError, match=r"cannot read private key.*edgecell keys new"):
        read_private(tmp_path / "none.key")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import x25519

    key, pem = x25519.X25519PrivateKey.generate(), serialization.Encoding.PEM
    (tmp_path / "x.pub").write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(SettingsError, match="no public Ed25519 key"):
        read_public(tmp_path / "x.pub")


def test_a_signed_bundle_keeps_its_sha256_and_says_who_signed(tiny: Bundle, lab: tuple[Path, Path]) -> None:
    signature = sign(tiny.path, read_private(lab[0]))
    opened = open_bundle(tiny.path, signed_by(lab[1]))
    assert opened.sha256 == tiny.sha256
    assert opened.signature == signature
    assert signature.key == key_id(read_public(lab[1]))
    assert opened.trusted_key == str(lab[1])
    assert opened.proof.endswith(f"signed by key {signature.key}, verified with {lab[1]}")
    assert open_bundle(tiny.path).proof.endswith(f"signed by key {signature.key}, which no key of [trust] keys has verified")


def test_anyone_can_verify_it_from_the_description(tiny: Bundle, lab: tuple[Path, Path]) -> None:
    """With the public key, the file of the certificate and the documented canonical form; nothing of ours."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    sign(tiny.path, read_private(lab[0]))
    written = json.loads((tiny.path / SIGNATURE).read_bytes())
    certificate = json.loads((tiny.path / CERTIFICATE).read_bytes())
    content = json.dumps(certificate, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert content == canonical((tiny.path / CERTIFICATE).read_bytes())
    key = serialization.load_pem_public_key(lab[1].read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(bytes.fromhex(written["signature"]), content)
    assert written["algorithm"] == "ed25519"


State = Callable[[Path, Path], None]


def unsigned(folder: Path, private: Path) -> None:
    """As it was made."""


def signed(folder: Path, private: Path) -> None:
    sign(folder, read_private(private))


def bare(folder: Path, private: Path) -> None:
    write_manifest(folder, tiny_manifest())


OPENS = ""
POLICY: list[tuple[State, str, bool, str]] = [
    # bundle, require, whether the lab's key is listed, what is said
    (bare, "nothing", False, OPENS),
    (bare, "nothing", True, OPENS),
    (bare, "certificate", False, "has no certificate"),
    (bare, "certificate", True, "has no certificate"),
    (bare, "signature", True, "has no certificate"),
    (unsigned, "nothing", False, OPENS),
    (unsigned, "nothing", True, OPENS),
    (unsigned, "certificate", False, OPENS),
    (unsigned, "certificate", True, OPENS),
    (unsigned, "signature", False, "needs keys"),
    (unsigned, "signature", True, "is not signed"),
    (signed, "nothing", False, OPENS),
    (signed, "nothing", True, OPENS),
    (signed, "certificate", False, OPENS),
    (signed, "certificate", True, OPENS),
    (signed, "signature", False, "needs keys"),
    (signed, "signature", True, OPENS),
]


@pytest.mark.parametrize(("state", "require", "listed", "says"), POLICY)
def test_policy(tiny: Bundle, lab: tuple[Path, Path], state: State, require: str, listed: bool, says: str) -> None:
    """As a run sees it, from the settings file."""
    state(tiny.path, lab[0])
    file = tiny.path.parent / "bench.toml"
    keys = '"keys/lab.signing.pub"' if listed else ""  # relative to the settings file
    file.write_text(
        f'[trust]\nrequire = "{require}"\nkeys = [{keys}]\n[segmenter]\npart = "stain"\n[models]\nnucleated = "./tiny"\n'
    )
    chosen = settings.load(file)
    if says is OPENS:
        bundle = app.plan(chosen).bundles["nucleated"]
        assert bool(bundle.trusted_key) is (listed and state is signed)
    else:
        with pytest.raises(EdgecellError, match=says):
            app.plan(chosen)


def test_the_default_asks_for_a_certificate(tiny: Bundle) -> None:
    assert settings.Settings().trust == Trust(require="certificate")
    bare(tiny.path, tiny.path)
    with pytest.raises(BundleError, match=r'has no certificate\.json\. Fix: .*require = "nothing"') as caught:
        app.plan(settings.Settings(models={"nucleated": str(tiny.path)}))
    assert caught.value.exit_code == 4


def test_a_policy_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text('[trust]\nrequire = "everything"\n')
    with pytest.raises(SettingsError, match=r"trust\.require"):
        settings.load(tmp_path / "bench.toml")


def test_a_key_that_is_not_listed_does_not_count(tiny: Bundle, lab: tuple[Path, Path], tmp_path: Path) -> None:
    other = new_keys("other", tmp_path / "keys")
    sign(tiny.path, read_private(other[0]))
    stranger = key_id(read_public(other[1]))
    with pytest.raises(BundleError, match=rf"signed by key {stranger}, which \[trust\] keys does not list"):
        open_bundle(tiny.path, signed_by(lab[1]))
    assert open_bundle(tiny.path, signed_by(lab[1], other[1])).trusted_key == str(other[1])


def test_a_forger_cannot_borrow_a_listed_key_s_id(tiny: Bundle, lab: tuple[Path, Path], tmp_path: Path) -> None:
    forged = sign(tiny.path, read_private(new_keys("forger", tmp_path / "keys")[0]))
    text = (tiny.path / SIGNATURE).read_text().replace(forged.key, key_id(read_public(lab[1])))
    (tiny.path / SIGNATURE).write_text(text)
    for trust in (signed_by(lab[1]), Trust(require="nothing", keys=(str(lab[1]),))):
        with pytest.raises(BundleCorrupt, match="is no signature of this certificate by"):
            open_bundle(tiny.path, trust)


def test_a_signature_of_another_certificate_is_refused(tiny: Bundle, lab: tuple[Path, Path], tmp_path: Path) -> None:
    """The other one is signed by the same key: replayed here, it says nothing."""
    other = make_tiny_bundle(tmp_path / "other")
    certificate = other.certificate
    assert certificate is not None
    other = write_manifest(other.path, tiny_manifest(), msgspec.structs.replace(certificate, commit="later"))
    sign(other.path, read_private(lab[0]))
    shutil.copyfile(other.path / SIGNATURE, tiny.path / SIGNATURE)
    open_bundle(other.path, signed_by(lab[1]))
    with pytest.raises(BundleCorrupt, match="is no signature of this certificate"):
        open_bundle(tiny.path, signed_by(lab[1]))


def test_a_whole_bundle_made_again_by_someone_else_is_refused_by_its_signature_alone(
    tiny: Bundle, lab: tuple[Path, Path]
) -> None:
    """Every sum fits: files, manifest and certificate were all written anew around a worse threshold."""
    sign(tiny.path, read_private(lab[0]))
    old = (tiny.path / SIGNATURE).read_bytes()
    certificate = tiny.certificate
    (tiny.path / "CARD.md").write_text("# better\n")
    write_manifest(tiny.path, tiny.manifest, certificate)
    (tiny.path / SIGNATURE).write_bytes(old)
    open_bundle(tiny.path)
    with pytest.raises(BundleCorrupt, match="is no signature of this certificate"):
        open_bundle(tiny.path, signed_by(lab[1]))


def test_every_edit_of_a_signature_is_refused(tiny: Bundle, lab: tuple[Path, Path]) -> None:
    signature = sign(tiny.path, read_private(lab[0]))
    path = tiny.path / SIGNATURE
    good = path.read_text()
    digit = "1" if signature.signature[7] == "0" else "0"
    edits = {
        "is no signature of this": (signature.signature, signature.signature[:7] + digit + signature.signature[8:]),
        "which .trust. keys does not list": (signature.key, "0" * 16),
        "signature": (signature.signature, signature.signature[:-2]),
        "algorithm": ('"ed25519"', '"none"'),
        "schema": ("signature/1", "signature/2"),
        "note": ("{", '{"note": 1,'),
    }
    for says, (old, new) in edits.items():
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(BundleError, match=says):
            open_bundle(tiny.path, signed_by(lab[1]))
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match=r"cannot read .*certificate\.sig"):
        open_bundle(tiny.path)
    path.rmdir()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BundleCorrupt, match=SIGNATURE):
        open_bundle(tiny.path)
    path.write_text(good)
    open_bundle(tiny.path, signed_by(lab[1]))


def test_without_the_library_only_a_listed_key_needs_it(
    tiny: Bundle, lab: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(tiny.path, read_private(lab[0]))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    assert open_bundle(tiny.path, Trust(require="certificate")).signature is not None
    with pytest.raises(MissingDependency, match=r"pip install 'edgecell\[signing\]'"):
        open_bundle(tiny.path, signed_by(lab[1]))
    with pytest.raises(MissingDependency, match="cryptography"):
        new_keys("second", tiny.path.parent)
