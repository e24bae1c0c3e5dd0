"""Where the page may be served: this machine, or with a token and TLS another interface."""

import datetime as dt
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from command_line import called, finished
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from serving import serving

from edgecell.errors import SettingsError
from edgecell.messages import NOTICE
from edgecell.web.address import Address, address, check_tls, names_of

HERE, OUTSIDE = Address(host="127.0.0.1", port=0), Address(host="0.0.0.0", port=8470)  # noqa: S104 it is refused


def pair(folder: Path, name: str = "page") -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench-3")])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=365 * 50))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    key_file.chmod(0o600)
    return cert_file, key_file


@pytest.mark.parametrize(
    ("text", "host", "here"),
    [
        ("127.0.0.1:8470", "127.0.0.1", True),
        ("localhost:8470", "127.0.0.1", True),
        ("[::1]:8470", "::1", True),
        ("127.0.0.2:8470", "127.0.0.2", True),
        ("0.0.0.0:8470", "0.0.0.0", False),  # noqa: S104
        ("[::]:8470", "::", False),
        ("192.168.7.3:8470", "192.168.7.3", False),
    ],
)
def test_an_address_is_read(text: str, host: str, here: bool) -> None:
    where = address(text)
    assert (where.host, where.port, where.here) == (host, 8470, here)


@pytest.mark.parametrize("text", ["", "8470", "bench-3:8470", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not ADDRESS:PORT"):
        address(text)


def test_a_port_that_is_taken_is_said_with_the_fix() -> None:
    with HERE.bound() as taken, pytest.raises(SettingsError, match="in use") as refused:
        Address(host="127.0.0.1", port=taken.getsockname()[1]).bound()
    assert "--listen" in refused.value.fix


def test_other_interfaces_need_tls(tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    assert not check_tls(HERE, None, None)
    assert check_tls(OUTSIDE, cert, key)
    with pytest.raises(SettingsError, match="that needs TLS"):
        check_tls(OUTSIDE, None, None)
    for half in ((cert, None), (None, key)):
        with pytest.raises(SettingsError, match="is missing"):
            check_tls(OUTSIDE, *half)


def test_files_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    _, other = pair(tmp_path, "other")
    for mine, its in ((cert, other), (key, key), (cert, cert)):
        its.chmod(0o600)
        with pytest.raises(SettingsError, match="are no certificate and its key"):
            check_tls(HERE, mine, its)
    with pytest.raises(SettingsError, match="is no file"):
        check_tls(HERE, tmp_path / "none.pem", key)
    key.chmod(0o640)
    with pytest.raises(SettingsError, match="open to others"):
        check_tls(HERE, cert, key)


def test_a_key_with_a_password_is_refused_and_asks_nothing(tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    made = serialization.load_pem_private_key(key.read_bytes(), None)
    form = serialization.PrivateFormat.PKCS8
    locked = made.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret"))
    key.write_bytes(locked)
    with pytest.raises(SettingsError, match="are no certificate and its key"):
        check_tls(HERE, cert, key)


def test_names_that_are_served() -> None:
    assert names_of(HERE, ()) == {"127.0.0.1", "localhost", "::1"}
    assert "bench-3.local" in names_of(OUTSIDE, ("Bench-3.local",))
    lan = names_of(Address(host="192.168.7.3", port=1), ())
    assert "192.168.7.3" in lan
    assert "localhost" not in lan


def test_the_address_is_one_that_a_browser_can_use() -> None:
    assert (HERE.shown, Address(host="::1", port=1).shown) == ("127.0.0.1", "[::1]")
    assert OUTSIDE.shown == socket.gethostname()


def test_beyond_this_machine_the_token_that_was_printed_signs_in_under_tls(tmp_path: Path) -> None:
    cert, key = pair(tmp_path)
    trusting = ssl.create_default_context(cafile=str(cert))
    outside = "--listen", "0.0.0.0:0", "--name", "127.0.0.1"
    with serving(tmp_path, *outside, "--tls-cert", cert, "--tls-key", key, verify=trusting) as served:
        address, _, token = served.url.partition("#token=")
        assert (address.startswith("https://127.0.0.1:"), len(token)) == (True, 43)
        assert not served.asked("GET", "/api/me", 200)["signed_in"]
        assert served.asked("GET", "/api/live", 401)["notice"] == NOTICE
        served.asked("POST", "/api/login", 401, {"token": token[::-1]})
        signed_in = served.client.post("/api/login", json={"token": token})
        assert (signed_in.status_code, "Secure" in signed_in.headers["set-cookie"]) == (204, True)
        assert [each["name"] for each in served.asked("GET", "/api/me", 200)["settings"]] == ["phantom"]
        assert served.ended() == 0
        assert token not in served.log


def test_without_its_libraries_it_says_how_to_get_them(tmp_path: Path) -> None:
    ended = finished("serve", folder=tmp_path, prelude="import sys; sys.modules['starlette'] = None")
    assert ended.code == 3
    assert "the page needs starlette. Fix: pip install 'edgecell[serve]'" in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--listen", "0.0.0.0:0"], "that needs TLS"),
        (["--listen", "nowhere"], "is not ADDRESS:PORT"),
        (["--bus", "tcp://*:5556"], "has a wildcard"),
        (["--token-file", "none"], "none"),
        (["a/bench.toml", "b/bench.toml"], "two settings files are called bench"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path: Path, options: list[str], said: str) -> None:
    ended = called("serve", "--journal", tmp_path, *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Fix: " in ended.err
    assert ended.err.count("\n") == 1
