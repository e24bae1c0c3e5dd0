"""The hash chain: head n = sha256(head n-1, 32 bytes, followed by entry n's bytes). Before the first entry it is 32 zeros.

An entry is canonical JSON (keys sorted, no whitespace, UTF-8), so that any program can compute the heads again. What a chain
does not show: whoever may write the file can make all of it anew, heads included. Only a signature by a key that is kept
elsewhere, or a head that others have, such as those in the messages on the bus, gives that away.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Protocol

import msgspec

START = bytes(32)
SIGNED = b"edgecell journal head 1\n"
"""Stands before the 32 bytes of a head where it is signed (Ed25519), so that the signature is of nothing else."""
MAX_ENTRY = 4096
"""Longest entry in bytes; they have about 300."""

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Signer(Protocol):
    """A private key."""

    def sign(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Key:
    """What signs heads. id: of the public key that verifies them."""

    id: str
    signer: Signer


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event's place in the chain. type, run_id, sequence (of a window's counts message): as in its content.

    content: sha256 of the content as it is stored. state: sha256 of what is needed to go on after a window, else "". key: id of
    the public key that verifies the signature of the head, "" where it is not signed.
    """

    position: Annotated[int, msgspec.Meta(ge=1)]
    type: str
    run_id: str
    sequence: int | None
    utc: str
    content: Sha256
    state: str = ""
    key: str = ""


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Entry)


def to_bytes(entry: Entry) -> bytes:
    """What is hashed and stored."""
    return _ENCODER.encode(entry)


def from_bytes(body: bytes) -> Entry:
    """The entry. Raises ValueError that says what is wrong with it."""
    if len(body) > MAX_ENTRY:
        raise ValueError(f"has {len(body)} bytes, more than {MAX_ENTRY}")
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"cannot be read: {error}") from None


def sha256(content: bytes) -> str:
    """In 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def advance(head: bytes, body: bytes) -> bytes:
    """The head after an entry."""
    return hashlib.sha256(head + body).digest()


def sign(head: bytes, key: Key | None) -> bytes | None:
    """64 bytes; None without a key."""
    return None if key is None else key.signer.sign(SIGNED + head)
