"""Files fetched from a server on loopback that breaks off, lies and changes its mind. Nothing here reaches a network."""

import hashlib
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, Handler, cut_after, refusing, serving, whole

from calibration import download, https
from calibration.download import TRIES, Download, Fetched, fetch
from calibration.https import DownloadFailed

CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(CONTENT) as running:
        yield running


def fetched(server: FileServer, folder: Path, *, checksum: str = "", waits: list[float] | None = None) -> Fetched:
    wanted = Download(url=server.url, name="set/file.zip", checksum=checksum)
    return fetch(wanted, folder, loopback=True, sleep=(waits if waits is not None else []).append)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "set").iterdir())


def test_a_file_arrives_with_progress_and_leaves_nothing_beside_it(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    wanted = Download(url=server.url, name="set/file.zip", checksum=server.md5)
    done = fetch(wanted, tmp_path, lambda here, total: seen.append((here, total)), loopback=True)
    assert done.path.read_bytes() == CONTENT
    assert (done.proof, done.new, done.sha256) == ("published checksum", True, hashlib.sha256(CONTENT).hexdigest())
    assert left(tmp_path) == ["file.zip"]
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_connection_is_resumed_where_it_broke(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), cut_after(50_000)]
    waits: list[float] = []
    assert fetched(server, tmp_path, checksum=server.md5, waits=waits).path.read_bytes() == CONTENT
    assert server.asked == [{}, *({"Range": f"bytes={at}-", "If-Range": '"one"'} for at in (100_000, 150_000))]
    assert waits == [1.0, 1.0]  # each gained bytes


def test_the_next_call_goes_on_with_the_part_of_the_last(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), *[refusing(503)] * (TRIES - 1)]
    with pytest.raises(DownloadFailed, match=r"503.*100000 bytes are kept.*goes on from there"):
        fetched(server, tmp_path)
    assert left(tmp_path) == ["file.zip.part", "file.zip.part.from"]
    server.asked.clear()
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked == [{"Range": "bytes=100000-", "If-Range": '"one"'}]


def test_a_call_stopped_after_the_last_byte_asks_for_no_more(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), *[refusing(503)] * (TRIES - 1)]
    with pytest.raises(DownloadFailed):
        fetched(server, tmp_path)
    (tmp_path / "set/file.zip.part").write_bytes(CONTENT)
    server.asked.clear()
    assert fetched(server, tmp_path, checksum=server.md5).path.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_part_longer_than_the_file_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), *[refusing(503)] * (TRIES - 1)]
    with pytest.raises(DownloadFailed):
        fetched(server, tmp_path)
    (tmp_path / "set/file.zip.part").write_bytes(CONTENT + b"more")
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_again_from_the_start(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), whole]
    assert fetched(server, tmp_path, checksum=server.md5).path.read_bytes() == CONTENT


def test_a_file_that_changed_between_attempts_is_taken_anew(server: FileServer, tmp_path: Path) -> None:
    newer = random.Random(2).randbytes(280_000)

    def changing(handler: Handler) -> None:
        cut_after(100_000)(handler)
        handler.server.content, handler.server.tag = newer, '"two"'

    server.script = [changing]
    assert fetched(server, tmp_path).path.read_bytes() == newer
    assert server.asked[1] == {"Range": "bytes=100000-", "If-Range": '"one"'}


def test_a_server_that_ignores_if_range_does_not_mix_two_versions(server: FileServer, tmp_path: Path) -> None:
    newer = random.Random(2).randbytes(300_000)

    def changing(handler: Handler) -> None:
        cut_after(100_000)(handler)
        handler.server.content, handler.server.tag = newer, '"two"'

    def careless(handler: Handler) -> None:
        handler.head(206, Content_Range="bytes 100000-299999/300000", Content_Length=200_000, ETag='"two"')
        handler.wfile.write(newer[100_000:])

    server.script = [changing, careless]
    assert fetched(server, tmp_path).path.read_bytes() == newer
    assert server.asked[2] == {}


def test_another_part_than_the_one_asked_for_is_not_appended(server: FileServer, tmp_path: Path) -> None:
    def elsewhere(handler: Handler) -> None:
        handler.head(206, Content_Range="bytes 5-299999/300000", Content_Length=299_995, ETag='"one"')
        handler.wfile.write(CONTENT[5:])

    server.script = [cut_after(100_000), elsewhere]
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_strong_version_nothing_is_resumed(server: FileServer, tmp_path: Path, tag: str) -> None:
    server.tag, server.script = tag, [cut_after(100_000)]
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked == [{}, {}]


def test_a_part_of_another_address_is_not_used(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), *[refusing(503)] * (TRIES - 1)]
    with pytest.raises(DownloadFailed):
        fetched(server, tmp_path)
    with serving(CONTENT[::-1]) as other:
        assert fetched(other, tmp_path).path.read_bytes() == CONTENT[::-1]
        assert other.asked == [{}]


def test_an_answer_of_500_is_waited_out(server: FileServer, tmp_path: Path) -> None:
    server.script = [refusing(500), refusing(503, Retry_After=7), refusing(429, Retry_After=100_000)]
    waits: list[float] = []
    assert fetched(server, tmp_path, waits=waits).path.read_bytes() == CONTENT
    assert waits == [1.0, 7.0, https.LONGEST_WAIT_S]


def test_after_some_tries_it_gives_up(server: FileServer, tmp_path: Path) -> None:
    server.script = [refusing(500)] * 100
    waits: list[float] = []
    with pytest.raises(DownloadFailed, match=r"500 Internal Server Error \(6 times in a row; 0 bytes are kept\)"):
        fetched(server, tmp_path, waits=waits)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_length_that_is_never_reached_is_no_file(server: FileServer, tmp_path: Path) -> None:
    def short(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT) + 10, ETag='"one"')
        handler.wfile.write(CONTENT)

    server.script = [short] * TRIES * 2
    with pytest.raises(DownloadFailed, match="broke after 300000 of 300010 bytes"):
        fetched(server, tmp_path)
    assert "file.zip" not in left(tmp_path)


def test_a_length_that_is_too_small_is_found_by_the_checksum(server: FileServer, tmp_path: Path) -> None:
    def shortened(handler: Handler) -> None:
        handler.head(200, Content_Length=1000, ETag='"one"')
        handler.wfile.write(CONTENT)

    server.script = [shortened]
    with pytest.raises(DownloadFailed, match="damaged or is another file"):
        fetched(server, tmp_path, checksum=server.md5)


def test_a_chunked_body_that_ends_early_is_no_file(server: FileServer, tmp_path: Path) -> None:
    def chunk(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked", ETag='"one"')
        handler.wfile.write(b"%x\r\n%b\r\n" % (1000, CONTENT[:1000]))

    server.script = [chunk]
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked[1] == {"Range": "bytes=1000-", "If-Range": '"one"'}


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_final_refusal_is_said_at_once(server: FileServer, tmp_path: Path, status: int) -> None:
    server.script = [refusing(status)]
    with pytest.raises(DownloadFailed, match=rf"{status} .* Fix: look at the dataset's page"):
        fetched(server, tmp_path)
    assert len(server.asked) == 1


def test_a_corrupt_file_is_deleted_and_said(server: FileServer, tmp_path: Path) -> None:
    sent = CONTENT[:1000] + bytes([CONTENT[1000] ^ 1]) + CONTENT[1001:]

    def corrupt(handler: Handler) -> None:
        handler.head(200, Content_Length=len(sent), ETag='"one"')
        handler.wfile.write(sent)

    server.script = [corrupt]
    with pytest.raises(DownloadFailed) as caught:
        fetched(server, tmp_path, checksum=server.md5)
    assert f"is {hashlib.md5(sent, usedforsecurity=False).hexdigest()}, not {server.md5[4:]}; it is deleted" in str(
        caught.value
    )
    assert left(tmp_path) == []
    assert fetched(server, tmp_path, checksum=server.md5).path.read_bytes() == CONTENT


def test_sha256_is_a_checksum_too(server: FileServer, tmp_path: Path) -> None:
    right = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert fetched(server, tmp_path, checksum=right).proof == "published checksum"


def test_the_server_s_own_md5_is_compared_where_nothing_is_published(server: FileServer, tmp_path: Path) -> None:
    server.tag = f'"{server.md5}"'
    assert fetched(server, tmp_path / "a").proof == "checksum sent by the server"
    server.content = CONTENT[:-1] + b"?"  # under the old ETag
    with pytest.raises(DownloadFailed, match="damaged or is another file"):
        fetched(server, tmp_path / "b")


def test_without_any_checksum_none_is_claimed(server: FileServer, tmp_path: Path) -> None:
    assert fetched(server, tmp_path).proof == "none"


def test_what_is_there_is_checked_and_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    fetched(server, tmp_path, checksum=server.md5)
    server.asked.clear()
    assert fetched(server, tmp_path, checksum=server.md5).new is False
    (tmp_path / "set/file.zip").write_bytes(b"something of one's own")
    with pytest.raises(DownloadFailed, match="stays where it is"):
        fetched(server, tmp_path, checksum=server.md5)
    assert (tmp_path / "set/file.zip").read_bytes() == b"something of one's own"
    assert server.asked == []


def test_a_full_disk_is_seen_before_it_is_full(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadFailed, match=r"1,000 bytes free, 300,000 are still to come.*make room"):
        fetched(server, tmp_path)


def test_a_disk_that_fills_up_on_the_way_is_said(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes no byte."""
    monkeypatch.setattr(download._Arriving, "forget", lambda _: None)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/file.zip.part").symlink_to("/dev/full")
    with pytest.raises(DownloadFailed, match=r"cannot write .*No space left on device"):
        fetched(server, tmp_path)


def test_plain_http_is_refused(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="is not HTTPS"):
        fetch(Download(url=server.url, name="file"), tmp_path)
    with pytest.raises(DownloadFailed, match="is not HTTPS"):
        fetch(Download(url=server.url.replace("127.0.0.1", "localhost"), name="file"), tmp_path, loopback=True)
    assert server.asked == []


@pytest.mark.parametrize("elsewhere", ["http://example.org/file", "ftp://example.org/file", "file:///etc/hosts"])
def test_a_redirect_away_from_https_is_refused(server: FileServer, tmp_path: Path, elsewhere: str) -> None:
    server.script = [refusing(302, Location=elsewhere)]
    with pytest.raises(DownloadFailed, match=r"is not HTTPS|is not allowed"):
        fetched(server, tmp_path)


def test_a_redirect_keeps_the_range(server: FileServer, tmp_path: Path) -> None:
    server.script = [cut_after(100_000), refusing(302, Location="/elsewhere")]
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT
    assert server.asked[1] == server.asked[2] == {"Range": "bytes=100000-", "If-Range": '"one"'}


def test_no_server_at_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    wanted = Download(url=f"http://127.0.0.1:{port}/file", name="file")
    with pytest.raises(DownloadFailed, match="refused"):
        fetch(wanted, tmp_path, loopback=True, sleep=lambda _: None)


def test_a_connection_closed_without_an_answer(server: FileServer, tmp_path: Path) -> None:
    server.script = [lambda handler: handler.connection.close()]
    assert fetched(server, tmp_path).path.read_bytes() == CONTENT
