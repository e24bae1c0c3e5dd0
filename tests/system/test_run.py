"""`edgecell run` whole: phantom or images, engine, bus. Listeners know the checked-in schemas and nothing of this package."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zmq
from command_line import PATIENCE_S, called, started
from pictures import HEIGHT, WIDTH, bad_images, write_fields
from tiny_bundle import make_tiny_bundle

import edgecell
from edgecell.messages import NOTICE
from edgecell.selftest import MARK

SCHEMAS = Path(edgecell.__file__).parent / "schemas"
COUNTS, HEARTBEAT = "counts/1", "heartbeat/1"
Document = dict[str, Any]


class Stranger:
    """A listener in any language: a socket, a JSON parser and the schemas. Every message that it hears is valid by them."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        schemas = (json.loads(path.read_text()) for path in SCHEMAS.glob("*.json"))
        self._validators = {each["properties"]["schema"]["enum"][0]: jsonschema.Draft202012Validator(each) for each in schemas}
        self.heard: list[Document] = []

    def until(self, wanted: Callable[[Document], bool]) -> Document:
        """Listen on, to the first message that is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._socket.poll(100):
                topic, payload = self._socket.recv_multipart()
                document: Document = json.loads(payload.decode("utf-8"))
                assert document["schema"] == topic.decode()
                self._validators[document["schema"]].validate(document)
                self.heard.append(document)
                if wanted(document):
                    return document
        raise AssertionError(f"nothing of that within {PATIENCE_S} s, but {len(self.heard)} other messages")

    def of(self, topic: str) -> list[Document]:
        """What was heard of a topic, repeats left out."""
        messages = {each["sequence"]: each for each in self.heard if each["schema"] == topic}
        return [messages[sequence] for sequence in sorted(messages)]


@contextmanager
def stranger(endpoint: str) -> Iterator[Stranger]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(endpoint)
        yield Stranger(socket)


def is_counts(document: Document) -> bool:
    return bool(document["schema"] == COUNTS)


def reconciles(document: Document) -> None:
    """No frame and no cell gets lost."""
    frames = dict(document["frames"])
    assert frames.pop("captured") == sum(frames.values())
    cells = sum(document["cumulative"].values()) + document["unsure"] + sum(document["excluded"].values())
    assert cells == document["cells_total"]
    assert sum(document["gated_reasons"].values()) == frames["gated"]
    share = document["differential"]
    assert sum(row["count"] for row in share["rows"]) == share["n"]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Settings of a small phantom on a local socket beside them, classified by the tiny bundle."""
    make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "bench.toml").write_text(
        f"""
        device_id = "bench-3"
        sample_id = "slide-17"
        models = {{nucleated = "./tiny"}}
        source = {{part = "phantom", width = {WIDTH}, height = {HEIGHT}}}
        publisher = {{endpoint = "ipc://{tmp_path}/bus"}}
        run = {{window_s = 0.25, heartbeat_s = 0.25}}
        """
    )
    return tmp_path / "bench.toml"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_counts_reach_strangers_and_the_last_ones_survive_a_signal(bench: Path, number: signal.Signals) -> None:
    endpoint = f"ipc://{bench.parent}/bus"
    with stranger(endpoint) as first, started("run", "bench.toml", "--json", folder=bench.parent) as running:
        first.until(lambda document: is_counts(document) and document["frames"]["processed"] >= 2)
        with stranger(endpoint) as late:
            assert late.until(is_counts)["sequence"] >= 0
            first.until(lambda _: has_repeats(first))  # the latest message is sent again when anyone joins
        running.process.send_signal(number)
        end = first.until(lambda document: document["schema"] == HEARTBEAT and document["state"] == "stopped")
        ended = running.ended()
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    *printed, self_test = ended.documents
    heard = first.of(COUNTS)
    assert {document["sample_id"] for document in heard} == {""}  # who only listens is not told
    heard = [{**document, "sample_id": "slide-17"} for document in heard]
    last = heard[-1]
    assert printed[-1] == last
    assert [each for each in printed if each["sequence"] >= heard[0]["sequence"]] == heard
    for document in printed:
        reconciles(document)
        assert document["valid"]
        assert document["notice"] == NOTICE
        assert (document["device_id"], document["sample_id"]) == ("bench-3", "slide-17")
        models = [(model["role"], model["name"]) for model in document["models"]]
        assert models == [("nucleated", "tiny"), ("segmenter", "cells3")]
    for label, total in last["cumulative"].items():
        assert total == sum(document["counts"].get(label, 0) for document in printed)
    assert end["frames"] == last["frames"]
    assert last["frames"]["in_flight"] == 0
    assert self_test["schema"] == "self_test/1"
    assert self_test["mark"] == MARK
    assert (self_test["counted"], self_test["unsure"]) == (last["cumulative"], last["unsure"])
    assert self_test["frames"] == last["frames"]["processed"]


def has_repeats(listener: Stranger) -> bool:
    numbers = [each["sequence"] for each in listener.heard if is_counts(each)]
    return len(set(numbers)) < len(numbers)


def test_a_run_ends_after_as_many_frames_as_asked_for(bench: Path) -> None:
    ended = called("run", bench, "--max-frames", 4, "--json", "--publish", "tcp://127.0.0.1:*", "--sample-id", "other")
    assert (ended.code, ended.err) == (0, "")
    *counts, self_test = ended.documents
    assert [document["sequence"] for document in counts] == list(range(len(counts)))
    assert (counts[-1]["frames"]["captured"], counts[-1]["frames"]["processed"], self_test["frames"]) == (4, 4, 4)
    assert counts[-1]["sample_id"] == "other"
    assert self_test["nucleated_found"] is not None


def test_a_phantom_that_ends_ends_the_run(bench: Path) -> None:
    ended = called("run", bench, "--json", "--source", f"phantom:width={WIDTH},height={HEIGHT},frames=2,seed=5")
    assert (ended.code, ended.documents[-1]["frames"]) == (0, 2)


def test_a_corrupt_file_is_one_failed_frame_with_its_name_in_the_log(bench: Path) -> None:
    name, data, words = bad_images()["truncated JPEG"]
    write_fields(bench.parent / "slide", 2)
    (bench.parent / "slide" / name).write_bytes(data)
    ended = called("run", bench, "--source", f"images:{bench.parent / 'slide'}", "--json")
    assert ended.code == 0
    last = ended.documents[-1]
    assert last["schema"] == COUNTS  # no truth is known of images, so there is nothing to put beside them
    frames = last["frames"]
    assert (frames["captured"], frames["processed"], frames["failed"]) == (3, 2, 1)
    reconciles(last)
    assert last["valid"]
    assert last["cumulative"]["red_blood_cell"] > 20
    (line,) = ended.err.splitlines()
    assert name in line
    assert words in line
    assert "frame 0 failed" in line


def test_counts_of_a_run_are_those_of_count(bench: Path) -> None:
    """Two ways through the program, one answer."""
    write_fields(bench.parent / "slide", 3)
    slide = bench.parent / "slide"
    run = called("run", bench, "--source", f"images:{slide}", "--json").documents[-1]
    total = called("count", slide, "--bundle", bench.parent / "tiny", "--json").documents[-1]
    assert run["cumulative"] == {label: count for label, count in total["counts"].items() if count}
    assert (run["unsure"], run["excluded"], run["cells_total"]) == (total["unsure"], total["excluded"], total["cells_total"])


def test_without_json_the_end_is_a_table_beside_the_truth(bench: Path) -> None:
    ended = called("run", bench, "--max-frames", 2)
    assert ended.code == 0
    for words in (MARK, NOTICE, "Counted beside drawn, 2 frames", "red_blood_cell", "unsure", "frames/s", "slide-17"):
        assert words in ended.out
    assert re.search(r"frames/s \| #\d+ bench-3 slide-17", ended.err)
