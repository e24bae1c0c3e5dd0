"""Somebody removes the socket of a run that goes on: it is made again, and the messages say what happened."""

from pathlib import Path

from listening import listener, process
from tiny_bundle import make_tiny_bundle

from edgecell.wire import CountsMessage


def test_a_socket_that_was_removed_is_made_again(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    endpoint, settings = f"ipc://{tmp_path}/bus", tmp_path / "bench.toml"
    settings.write_text(f'models = {{nucleated = "./tiny"}}\npublisher = {{endpoint = "{endpoint}"}}\nrun = {{window_s = 0.1}}')
    command = ("-m", "edgecell", "run", settings, "--no-journal", "--source", "phantom:width=320,height=240")
    with process(*command) as _, listener(endpoint) as first:
        before = first.until("running", processed=2)
        (tmp_path / "bus").unlink()
        with listener(endpoint) as later:
            after = later.until("running", processed=before.frames.processed + 2)
            later.until("running", processed=after.frames.processed + 2)
        first.until("running", processed=after.frames.processed)  # it has come back by itself
    heard = [message for message in (*first.messages, *later.messages) if isinstance(message, CountsMessage)]
    told = [message for message in heard if any("its socket was removed" in remark for remark in message.remarks)]
    assert told
    assert all(message.valid for message in heard)
    assert after.unsent > 0
    assert after.run_id == before.run_id
