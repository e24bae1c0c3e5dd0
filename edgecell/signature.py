"""Who vouches for a bundle: an Ed25519 signature (RFC 8032) of its certificate, by a key that the settings list.

`certificate.sig` lies beside the certificate and is not listed in the manifest, so that a bundle can be signed after it was
made, and keeps its sha256. Signed are the certificate's canonical bytes; the certificate fixes the manifest and every file.
Keys are PEM files: NAME.signing.key, private, for its owner alone (mode 0600), and NAME.signing.pub, which the devices get.
`cryptography` is imported when a key is made or used, and not before.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from edgecell import keyfile
from edgecell.certificate import CERTIFICATE, canonical
from edgecell.errors import BundleCorrupt, BundleError, MissingDependency, SettingsError
from edgecell.files import read_limited
from edgecell.keyfile import check_name, write_pair

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "certificate.sig"
PRIVATE, PUBLIC = ".signing.key", ".signing.pub"


class Trust(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle must show before it is used; whatever it has is checked in any case.

    require: "nothing"; "certificate", which every bundle of the workshop and of `edgecell adapt` has; "signature" of the
    certificate by one of the keys. keys: files with public keys.
    """

    require: Literal["nothing", "certificate", "signature"] = "certificate"
    keys: tuple[str, ...] = ()


ANY = Trust(require="nothing")


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `certificate.sig`. key: id of the public key. signature: hex."""

    schema: Literal["signature/1"] = "signature/1"
    algorithm: Literal["ed25519"] = "ed25519"
    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{128}$")]


def new_keys(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a pair of keys in `folder`: the private file, mode 0600, and the public one.

    Raises SettingsError for a name that is no plain file name, and rather than write over a key; MissingDependency.
    """
    ed25519, serialization = _library()
    check_name(name)
    private, public = folder / f"{name}{PRIVATE}", folder / f"{name}{PUBLIC}"
    key, pem = ed25519.Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    write_pair(private, secret, public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def read_public(path: Path) -> "Ed25519PublicKey":
    """A public key. Raises SettingsError, MissingDependency."""
    ed25519, serialization = _library()
    content = keyfile.read_public(path, fix="correct the path in [trust] keys")
    try:
        key = serialization.load_pem_public_key(content)
    except ValueError:
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SettingsError(f"{path} holds no public Ed25519 key", fix=f"give the file that ends with {PUBLIC}")
    public: Ed25519PublicKey = key
    return public


def read_private(path: Path) -> "Ed25519PrivateKey":
    """A private key that nobody but its owner may read. Raises SettingsError, MissingDependency."""
    ed25519, serialization = _library()
    content = keyfile.read_private(path, fix="make one: edgecell keys new")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):  # TypeError: it asks for a password
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SettingsError(
            f"{path} holds no private Ed25519 key without password", fix=f"give the file that ends with {PRIVATE}"
        )
    private: Ed25519PrivateKey = key
    return private


def key_id(key: "Ed25519PublicKey") -> str:
    """The first 16 hex digits of the sha256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def sign(folder: Path, key: "Ed25519PrivateKey") -> Signature:
    """Sign the certificate in `folder`, in place of an older signature. Whether the bundle is whole is not looked at here."""
    content = canonical((folder / CERTIFICATE).read_bytes())
    signature = Signature(key=key_id(key.public_key()), signature=key.sign(content).hex())
    beside = folder / f".{SIGNATURE}.new"
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(signature), indent=2) + b"\n")
    beside.replace(folder / SIGNATURE)
    return signature


def judge(folder: Path, trust: Trust, *, certified: bool) -> tuple[Signature | None, str]:
    """The bundle's signature, if it has one, and the file of the listed key that it was verified with, "" for none.

    certified: whether it has a certificate, and that one is its own. Raises BundleError where the bundle does not show what
    `trust` asks for, BundleCorrupt for a signature that is not of this certificate, SettingsError for keys that cannot be used.
    """
    if trust.require != "nothing" and not certified:
        fix = 'build it again with this version; [trust] require = "nothing" in the settings opens it as it is'
        raise BundleError(f"bundle {folder} has no {CERTIFICATE}", fix=fix)
    if trust.require == "signature" and not trust.keys:
        fix = f'list the public keys that you trust: keys = ["lab{PUBLIC}"]'
        raise SettingsError('[trust] require = "signature" needs keys', fix=fix)
    keys = {key_id(key): (path, key) for path, key in ((each, read_public(Path(each))) for each in trust.keys)}
    signature = _read(folder / SIGNATURE)
    if signature is not None and signature.key in keys:
        path, key = keys[signature.key]
        _verify(folder, signature, key, path)
        return signature, path
    if trust.require == "signature":
        what = "is not signed" if signature is None else f"is signed by key {signature.key}, which [trust] keys does not list"
        fix = f"sign it: python -m calibration sign {folder} --key NAME{PRIVATE}; list a key only if you know whose it is"
        raise BundleError(f"bundle {folder} {what}", fix=fix)
    return signature, ""


def signed_by(key: "Ed25519PublicKey", signature: bytes, content: bytes) -> bool:
    """Whether the signature is of this content, by this key."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _verify(folder: Path, signature: Signature, key: "Ed25519PublicKey", path: str) -> None:
    if not signed_by(key, bytes.fromhex(signature.signature), canonical((folder / CERTIFICATE).read_bytes())):
        what = f"{folder / SIGNATURE} is no signature of this certificate by {path}"
        raise BundleCorrupt(what, fix="copy the bundle again from who signed it")


def _read(path: Path) -> Signature | None:
    try:
        return msgspec.json.decode(read_limited(path), type=Signature)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", fix="check its permissions") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleCorrupt(f"{path}: {error}", fix="copy the bundle again, or remove that file and sign it again") from None


def _library() -> tuple[Any, Any]:
    """The modules `ed25519` and `serialization` of cryptography. Raises MissingDependency."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        fix = "pip install 'edgecell[signing]'"
        raise MissingDependency("signatures need cryptography, which is not installed", fix=fix) from error
    return ed25519, serialization
