"""What the page's server lets through, whatever is behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from web_requests import HERE, requested, station

from edgecell import clock
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE
from edgecell.web.answers import Refused
from edgecell.web.guard import MOST_BODY
from edgecell.web.session import ADDRESSES, AGAIN_S, COOKIE, LIFE_S, TRIES, Door, made_token, token_of

TOKEN = "correct horse battery staple"  # noqa: S105
HOSTS = ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", "", "10.0.0.7:8470", "[::2]", "[x"]
PLACES = [("/", 200), ("/api/me", 200), ("/nothing", 404), ("/api/none", 404)]
GUARDED = [
    ("GET", "/api/live"),
    ("GET", "/api/preview/1.jpg"),
    ("POST", "/api/run"),
    ("DELETE", "/api/run"),
    ("GET", "/api/runs"),
]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds on both clocks, to be set."""
    seconds = [1_000_000.0]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: round(seconds[0] * 1e9))
    monkeypatch.setattr(clock, "utc_ns", lambda: round(seconds[0] * 1e9))
    return seconds


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_not_served_gets_nothing(tmp_path: Path, host: str) -> None:
    answer = requested(station(tmp_path), "GET", "/api/me", headers={"Host": host})
    assert answer.status_code == 421
    assert "version" not in answer.json()
    assert requested(station(tmp_path), "GET", "/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8470", "localhost", "LOCALHOST:1", "[::1]:8470"])
def test_this_machine_is_served_by_its_names(tmp_path: Path, host: str) -> None:
    assert requested(station(tmp_path), "GET", "/api/me", headers={"Host": host}).status_code == 200


def test_on_all_interfaces_every_address_in_numbers_is_served_and_no_name_besides(tmp_path: Path) -> None:
    """A browser that shows such an address has asked that very address: only a name can be bent to another one."""
    at = station(tmp_path)
    assert requested(at, "GET", "/api/me", headers={"Host": "10.0.0.7:8470"}, numbers=True).status_code == 200
    assert requested(at, "GET", "/api/me", headers={"Host": "evil.example"}, numbers=True).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:8470"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": HERE, "Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/run"), ("DELETE", "/api/run"), ("POST", "/api/login")])
def test_another_page_can_change_nothing(tmp_path: Path, method: str, path: str, headers: dict[str, str]) -> None:
    answer = requested(station(tmp_path), method, path, headers=headers, json={})
    assert (answer.status_code, "another page" in answer.json()["error"]) == (403, True)


@pytest.mark.parametrize("headers", [{"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, {}])
def test_our_own_page_and_no_browser_may(tmp_path: Path, headers: dict[str, str]) -> None:
    answer = requested(station(tmp_path), "DELETE", "/api/run", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (409, "no run goes on")


def test_a_form_cannot_ask(tmp_path: Path) -> None:
    """A page elsewhere can send a form without being asked for leave first, but no JSON."""
    answer = requested(station(tmp_path), "POST", "/api/run", content="{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_has_a_limit(tmp_path: Path, announced: bool) -> None:
    body = b" " * (MOST_BODY + 1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    answer = requested(
        station(tmp_path),
        "POST",
        "/api/run",
        content=body if announced else pieces(),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["fix"]) == (413, "send less at once")


@pytest.mark.parametrize(("path", "status"), PLACES)
def test_every_answer_tells_the_browser_to_be_careful(tmp_path: Path, path: str, status: int) -> None:
    answer = requested(station(tmp_path), "GET", path)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == ("no-store" if path.startswith("/api/") else "no-cache")
    assert "server" not in answer.headers


def test_refusals_carry_the_notice(tmp_path: Path) -> None:
    for path in ("/api/none", "/api/preview/three.jpg"):
        assert requested(station(tmp_path), "GET", path).json()["notice"] == NOTICE
    assert requested(station(tmp_path, TOKEN), "GET", "/api/live").json()["notice"] == NOTICE


# A token


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("cookie", [None, "", "1.2", f"{2**63}.{'0' * 64}", "x.y", "٣.x"])
def test_without_a_session_the_api_says_nothing(tmp_path: Path, method: str, path: str, cookie: str | None) -> None:
    headers = {} if cookie is None else {"Cookie": f"{COOKIE}={cookie}".encode()}
    answer = requested(station(tmp_path, TOKEN), method, path, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "not signed in")


def test_who_is_not_signed_in_learns_that_only(tmp_path: Path) -> None:
    told = requested(station(tmp_path, TOKEN), "GET", "/api/me").json()
    assert (told["token_needed"], told["signed_in"], told["settings"]) == (True, False, [])


@pytest.mark.parametrize("secure", [True, False])
def test_the_token_opens_the_door_and_its_cookie_is_for_nobody_else(tmp_path: Path, secure: bool) -> None:
    at = station(tmp_path, TOKEN, secure=secure)
    answer = requested(at, "POST", "/api/login", json={"token": TOKEN})
    assert (answer.status_code, answer.content) == (204, b"")
    flags = {each.strip().lower() for each in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", f"max-age={LIFE_S}"} <= flags
    assert ("secure" in flags) == secure
    told = requested(at, "GET", "/api/me", cookies={COOKIE: answer.cookies[COOKIE]}).json()
    assert told["signed_in"]
    assert [each["name"] for each in told["settings"]] == ["phantom"]
    assert TOKEN not in answer.headers["set-cookie"]


def test_a_wrong_token_gets_no_cookie(tmp_path: Path) -> None:
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "Ωμέγα"):
        answer = requested(station(tmp_path, TOKEN), "POST", "/api/login", json={"token": wrong})
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)


def test_without_a_token_everybody_on_this_machine_is_in(tmp_path: Path) -> None:
    assert requested(station(tmp_path), "POST", "/api/login", json={"token": "any"}).status_code == 204
    assert requested(station(tmp_path), "GET", "/api/me").json()["signed_in"]


def test_a_cookie_outlives_the_server_and_not_its_shift_nor_its_token(now: list[float]) -> None:
    cookie = Door(TOKEN).sign_in(TOKEN, "here")
    assert Door(TOKEN).admits(cookie)  # another server
    assert not Door(TOKEN + "2").admits(cookie)
    end, _, proof = cookie.partition(".")
    assert not Door(TOKEN).admits(f"{int(end) + 1}.{proof}")
    now[0] += LIFE_S - 1
    assert Door(TOKEN).admits(cookie)
    now[0] += 2
    assert not Door(TOKEN).admits(cookie)


def test_guessing_is_slow(now: list[float]) -> None:
    door = Door(TOKEN)
    for _ in range(TRIES):
        with pytest.raises(Refused, match="not the token"):
            door.sign_in("guess", "there")
    with pytest.raises(Refused, match="too many") as refused:
        door.sign_in(TOKEN, "there")
    assert (refused.value.status, refused.value.wait_s) == (429, AGAIN_S)
    assert door.sign_in(TOKEN, "here")  # who sits elsewhere is not shut out by it
    now[0] += AGAIN_S
    with pytest.raises(Refused, match="not the token"):
        door.sign_in("guess", "there")
    with pytest.raises(Refused, match="too many"):
        door.sign_in("guess", "there")
    now[0] += AGAIN_S
    assert door.sign_in(TOKEN, "there")
    with pytest.raises(Refused, match="not the token"):  # a new start
        door.sign_in("guess", "there")


def test_addresses_that_guessed_do_not_fill_the_memory() -> None:
    door = Door(TOKEN)
    for number in range(ADDRESSES + 10):
        with pytest.raises(Refused):
            door.sign_in("guess", f"address {number}")
    assert len(door._wrong) == ADDRESSES


def test_made_tokens_differ() -> None:
    assert len({made_token() for _ in range(100)}) == 100
    assert min(len(made_token()) for _ in range(100)) >= 43


def test_a_token_s_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="open to others") as refused:
        token_of(file)
    assert refused.value.fix == f"chmod 600 {file}"
    file.chmod(0o600)
    assert token_of(file) == TOKEN
    for bad in ("short", "", "a\tb" * 20, "\x00" * 40):
        file.write_text(bad)
        with pytest.raises(SettingsError, match="no token of at least 16"):
            token_of(file)
    with pytest.raises(SettingsError, match="No such file"):
        token_of(tmp_path / "none")


def test_a_picture_that_is_gone_is_nothing_and_no_error(tmp_path: Path) -> None:
    at = station(tmp_path)
    number = at.hub.show(b"\xff\xd8")
    assert requested(at, "GET", f"/api/preview/{number}.jpg").content == b"\xff\xd8"
    gone = requested(at, "GET", f"/api/preview/{number + 1}.jpg")
    assert (gone.status_code, gone.content) == (204, b"")
