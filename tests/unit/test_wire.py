import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from bus_messages import CLASSES, MAKERS, TALLY, counts_message, heartbeat

from edgecell import wire
from edgecell.cli.schemas import drifted
from edgecell.errors import EdgecellError, PublishError
from edgecell.messages import NOTICE
from edgecell.tally import differential
from edgecell.wire import Message, from_wire, schema, to_wire

SCHEMAS = Path(wire.__file__).parent / "schemas"


@pytest.mark.parametrize("message", [make() for make in MAKERS], ids=wire.TYPES)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    topic, payload = to_wire(message)
    assert from_wire(payload) == message
    assert json.loads(payload)["schema"] == topic
    assert json.loads(payload)["notice"] == NOTICE


@pytest.mark.parametrize("message", [make() for make in MAKERS], ids=wire.TYPES)
def test_a_message_obeys_its_schema_and_tells_every_field(message: Message) -> None:
    topic, payload = to_wire(message)
    document = schema(topic)
    jsonschema.Draft202012Validator.check_schema(document)
    jsonschema.Draft202012Validator(document).validate(json.loads(payload))
    assert set(json.loads(payload)) == set(document["properties"]) == set(document["required"])


def test_every_field_is_described() -> None:
    for topic in wire.SCHEMAS:
        document = schema(topic)
        for part in [document, *document["$defs"].values()]:
            assert part["description"]
            for name, field in part["properties"].items():
                assert name == "schema" or "$ref" in field or field["description"], f"{topic}: {name}"


def test_the_checked_in_schemas_are_the_generated_ones(tmp_path: Path) -> None:
    drifted(SCHEMAS)
    assert {path.name for path in SCHEMAS.glob("*.json")} == set(wire.schema_files())
    with pytest.raises(EdgecellError, match="python -m edgecell schemas --write edgecell/schemas"):
        drifted(tmp_path)


def test_readers_ignore_what_they_do_not_know() -> None:
    document = json.loads(to_wire(counts_message())[1])
    document["from_next_year"] = {"new": [1, 2]}
    document["differential"]["rows"][0]["corrected"] = 3
    assert from_wire(json.dumps(document).encode()) == counts_message()


def altered(**changes: Any) -> bytes:
    return json.dumps({**json.loads(to_wire(counts_message())[1]), **changes}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        b'{"schema":"counts/1"}',
        b'{"schema":"counts/2"}',
        b" " * (wire.MAX_BYTES + 1),
        altered(unsure=-1),
        altered(cumulative={"neutrophil": -1}),
        altered(counting="twice"),
        altered(later=[[]] * 3) + b"x",
        b'{"later":' + b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(payload: bytes) -> None:
    with pytest.raises(PublishError, match="Fix: "):
        from_wire(payload)


def test_windows_may_be_negative_and_totals_not() -> None:
    assert from_wire(altered(counts={"neutrophil": -4})) == counts_message(counts={"neutrophil": -4})
    validator = jsonschema.Draft202012Validator(schema("counts/1"))
    assert not validator.is_valid(json.loads(altered(cumulative={"neutrophil": -4})))


def test_a_device_without_answers_says_null() -> None:
    message = counts_message(
        latency_ms=None, pixel_um=None, pixel_um_source="unknown", valid=False, invalid_reason="camera lost"
    )
    document = json.loads(to_wire(message)[1])
    assert (document["latency_ms"], document["pixel_um"], document["valid"]) == (None, None, False)
    jsonschema.validate(document, dict(schema("counts/1")))


def test_totals_reconcile_on_the_wire() -> None:
    document = json.loads(to_wire(counts_message())[1])
    cells = sum(document["cumulative"].values()) + document["unsure"] + sum(document["excluded"].values())
    assert cells == document["cells_total"] == TALLY.cells_total
    frames = document["frames"]
    assert frames.pop("captured") == sum(frames.values())
    assert document["differential"]["n"] == 89
    assert msgspec.convert(document["differential"], wire.Differential) == differential(TALLY, CLASSES)


def test_the_heartbeat_carries_no_sample() -> None:
    assert b"sample" not in to_wire(heartbeat())[1]
