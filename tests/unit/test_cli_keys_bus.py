"""`edgecell keys` for an encrypted bus, and who may read what it writes."""

import json
import os
import stat
from pathlib import Path

import pytest
from bus_keys import Keys
from bus_messages import counts_message, heartbeat
from command_line import called, started

from edgecell.bus import curve
from edgecell.errors import SettingsError
from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import to_wire


def test_new_makes_a_pair_that_belongs_together(tmp_path: Path) -> None:
    ended = called("keys", "new", "reader", "--kind", "bus", "--out", tmp_path / "keys")
    assert (ended.code, ended.err) == (0, "")
    private, public = tmp_path / "keys" / "reader.bus.key", tmp_path / "keys" / "reader.bus.pub"
    assert curve.public_of(curve.private_key(private)) == curve.public_key(public)
    assert f"(key {curve.fingerprint(curve.public_key(public))};" in ended.out
    again = called("keys", "new", "reader", "--kind", "bus", "--out", tmp_path / "keys")
    assert (again.code, "is there already" in again.err) == (2, True)


def test_the_private_file_was_never_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with the most generous umask, and not for the moment before a chmod."""
    modes: list[int] = []
    really = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = really(path, flags, mode)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        curve.new_keys("reader", tmp_path / "keys")
    finally:
        os.umask(before)
    assert modes == [0o600, 0o644]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "../reader", "a/b", ".hidden", "x" * 65, "with space"])
def test_a_name_is_a_plain_file_name(tmp_path: Path, name: str) -> None:
    for make in (lambda: curve.new_keys(name, tmp_path), lambda: curve.revoke(name, tmp_path)):
        with pytest.raises(SettingsError, match="is no name for a key"):
            make()
    assert not list(tmp_path.iterdir())


def test_list_shows_whose_keys_are_there_and_who_was_revoked(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    for name in ("anna", "bert"):
        keys.listener(name)
    ended = called("keys", "revoke", "bert", keys.allow)
    assert (ended.code, "bert may not listen any more" in ended.out) == (0, True)
    documents = called("keys", "list", keys.allow, "--json").documents
    assert [(each["kind"], Path(each["file"]).name) for each in documents] == [
        ("bus public", "anna.bus.pub"),
        ("bus revoked", "bert.bus.revoked"),
    ]
    own = called("keys", "list", tmp_path / "listeners", "--json").documents
    assert {each["key"] for each in own} == {each["key"] for each in documents}  # both halves have one id
    assert {each["kind"] for each in own} == {"bus private", "bus public"}


def test_list_names_what_is_open_to_others(tmp_path: Path) -> None:
    private, public = curve.new_keys("reader", tmp_path)
    private.chmod(0o644)
    public.chmod(0o666)
    ended = called("keys", "list", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert f"chmod 644 {public}" in ended.err
    assert f"chmod 600 {private}" in ended.err


def test_revoke_says_who_could_be_meant(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.listener("anna")
    unknown = called("keys", "revoke", "ana", keys.allow)
    assert (unknown.code, f"holds no ana.bus.pub. Fix: allowed in {keys.allow}: anna" in unknown.err) == (2, True)
    assert called("keys", "revoke", "anna", keys.allow).code == 0
    twice = called("keys", "revoke", "anna", keys.allow)
    assert (twice.code, "anna is revoked already" in twice.err, "nobody" in twice.err) == (2, True, True)
    assert called("keys", "revoke", "anna", tmp_path / "nowhere").code == 2


def test_watch_listens_with_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    words = ["--key", keys.listener("reader"), "--server-key", keys.device_public, "--once", "--json", "--timeout", "30"]
    publisher = ZmqPublisher(
        ZmqPublisher.Options(endpoint="tcp://127.0.0.1:*", server_key=keys.device, allow=keys.allow, sample_ids=True)
    )
    with publisher, started("watch", publisher.endpoint, *words, folder=tmp_path) as watching:
        number = 0
        while watching.process.poll() is None:
            number += 1
            publisher.publish(*to_wire(publisher.outgoing(heartbeat(number))))
            publisher.publish(*to_wire(publisher.outgoing(counts_message(number))))
            publisher.serve(0.02)
        ended = watching.ended()
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["sample_id"] == "slide-17"


SETTINGS = """
[publisher]
endpoint = "tcp://0.0.0.0:5556"
server_key = "keys/device.bus.key"
allow = "keys/allowed"
"""


def test_settings_name_the_keys_relative_to_their_file(tmp_path: Path) -> None:
    Keys(tmp_path / "keys")
    (tmp_path / "bench.toml").write_text(SETTINGS)
    ended = called("check", tmp_path / "bench.toml", "--json")
    assert ended.code == 0, ended.err
    detail = next(each["detail"] for each in ended.documents if each["subject"] == "publisher")
    assert f"server_key={tmp_path}/keys/device.bus.key, allow={tmp_path}/keys/allowed" in detail
    (tmp_path / "keys" / "device.bus.key").unlink()
    assert "device.bus.key does not exist" in called("check", tmp_path / "bench.toml").err


@pytest.mark.parametrize("words", [["--publish", "tcp://0.0.0.0:5556"], ["--publish", "tcp://*:5556"]])
def test_a_run_beyond_this_machine_is_refused_with_the_command_that_makes_the_keys(words: list[str]) -> None:
    ended = called("run", "--max-frames", 1, *words)
    assert ended.code == 2
    assert "that needs keys. Fix: edgecell keys new device --kind bus --out keys" in ended.err
