"""Every form of a report is read back: its fields are those of the journal, whatever the sample is called."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fhir.resources.R4B.bundle import Bundle
from report_run import ODD, collected, reviewed_run

from edgecell.bundle import CellClass
from edgecell.messages import NOTICE
from edgecell.report import fhir, hl7, loinc, table
from edgecell.report.lines import Figure, lines
from edgecell.report.run import RunReport

FIGURES = [f"{who}_{what}" for who in ("machine", "reviewed") for what in Figure._fields]


@pytest.fixture(scope="module", params=["slide-17", ODD], ids=["plain", "odd"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    folder: Path = tmp_path_factory.mktemp("run")
    reviewed_run(folder, sample_id=request.param)
    made = collected(folder)[0]
    assert made.sample_id == request.param
    codes = {"neutrophil": "26511-6", "erythroblast": "19048-8"}
    classes = tuple(msgspec.structs.replace(each, loinc=codes.get(each.name, "")) for each in made.classes)
    return msgspec.structs.replace(made, classes=classes, specimen="blood", clock_synced=True)


def numbers(report: RunReport) -> dict[str, list[float | None]]:
    """Name of each figure -> its numbers."""
    return {line.name: [*line.machine, *line.reviewed] for line in lines(report)}


def test_the_lines_hold_every_cell_once(report: RunReport) -> None:
    for which, counted in (("machine", report.machine), ("reviewed", report.reviewed)):
        cells = {line.name: getattr(line, which).cells for line in lines(report)}
        assert cells.pop("cells_total") == sum(cells.values()) == counted.cells_total
    assert [line.name for line in lines(report)] == [
        "neutrophil",
        "lymphocyte",
        "erythroblast",
        "unsure",
        "edge",
        "rejected",
        "cells_total",
    ]


def test_a_kind_without_a_class_and_a_run_without_a_differential_have_lines(report: RunReport) -> None:
    none = msgspec.structs.replace(report.machine.differential, n=0, rows=())
    empty = msgspec.structs.replace(report.machine, counts={"red_blood_cell": 7}, differential=none)
    told = {line.name: line for line in lines(msgspec.structs.replace(report, machine=empty, reviewed=empty))}
    assert told["red_blood_cell"].machine == Figure(7)
    assert told["neutrophil"].machine == told["erythroblast"].machine == Figure(0)


def test_csv_read_back(report: RunReport) -> None:
    raw = table.write(report)
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    found = {row["name"]: [float(row[each]) if row[each] else None for each in FIGURES] for row in rows}
    frames = {
        name: [float(count), *[None] * (len(FIGURES) - 1)] for name, count in msgspec.structs.asdict(report.frames).items()
    }
    assert found == {**numbers(report), **frames}
    assert {row["sample_id"].lstrip("'") for row in rows} == {report.sample_id}
    assert {(row["run_id"], row["notice"]) for row in rows} == {(report.run_id, NOTICE)}
    assert {row["name"]: row["loinc"] for row in rows if row["loinc"]} == {
        "neutrophil": "26511-6",
        "erythroblast": "19048-8",
    }


def test_no_cell_of_the_csv_is_a_formula(report: RunReport) -> None:
    hostile = msgspec.structs.replace(report, sample_id='=HYPERLINK("http://x")', device_id="@SUM(A1)", run_id="-2+3")
    for row in csv.reader(io.StringIO(table.write(hostile).decode(), newline="")):
        assert not [value for value in row if value[:1] in ("=", "+", "-", "@", "\t", "\r")]


def read_bundle(report: RunReport) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The Bundle as the published model reads it, and its resources by type."""
    parsed = Bundle.model_validate_json(fhir.write(report))
    raw: dict[str, Any] = msgspec.json.decode(parsed.model_dump_json())
    resources: dict[str, list[Any]] = {}
    for entry in raw["entry"]:
        resources.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return raw, resources


def test_fhir_read_back_by_its_published_model(report: RunReport) -> None:
    _, resources = read_bundle(report)
    found = {each["code"]["text"]: each for each in resources["Observation"]}
    for line in lines(report):
        observation = found[line.name.replace("_", " ")]
        parts = {part["code"]["text"]: part["valueQuantity"]["value"] for part in observation["component"]}
        expected = {
            f"{who}-{name}": round(number, 4)
            for who, figure in (("machine", line.machine), ("reviewed", line.reviewed))
            for name, number in figure._asdict().items()
            if number is not None
        }
        assert {name: float(value) for name, value in parts.items()} == expected
        assert float(observation["valueQuantity"]["value"]) == expected[f"reviewed-{line.value}"]
        assert observation["valueQuantity"]["code"] == {"percent": "%", "per_100": "/100{WBCs}"}.get(line.value, "{cells}")
        codes = [each["code"] for each in observation["code"]["coding"] if each["system"] == loinc.SYSTEM]
        assert codes == ([line.loinc] if line.loinc else [])
    frames = {part["code"]["text"]: part["valueQuantity"]["value"] for part in found["frames captured"]["component"]}
    assert float(found["frames captured"]["valueQuantity"]["value"]) == report.frames.captured
    assert {name: float(n) for name, n in frames.items()} == {
        name: n for name, n in msgspec.structs.asdict(report.frames).items() if name != "captured"
    }
    check = found["quality check passed"]
    assert check["valueBoolean"] is False
    assert [part["code"]["text"] for part in check["component"]] == ["red cell diameter", "focus"]
    assert "dataAbsentReason" in check["component"][1]


def test_fhir_is_preliminary_names_no_patient_and_carries_both_notices(report: RunReport) -> None:
    raw, resources = read_bundle(report)
    [told] = resources["DiagnosticReport"]
    assert {told["status"], *(each["status"] for each in resources["Observation"])} == {"preliminary"}
    assert not re.search(r"patient|\bsubject\b", fhir.write(report).decode(), re.IGNORECASE)
    assert NOTICE in told["text"]["div"]
    assert loinc.NOTICE in told["text"]["div"]
    assert told["conclusion"].startswith(NOTICE.rstrip("."))
    assert all(NOTICE in each["text"]["div"] for some in resources.values() for each in some)
    assert told["code"]["coding"][0] == {"system": loinc.SYSTEM, "code": "69738-3", "display": loinc.NAMES["69738-3"]}
    assert told["effectivePeriod"]["start"].startswith(report.began_utc[:19])
    entries = {entry["fullUrl"] for entry in raw["entry"]}
    named = {*re.findall(r'"reference":\s*"([^"]+)"', fhir.write(report).decode())}
    assert named <= entries
    assert len(entries) == len(raw["entry"])


def test_fhir_names_sample_device_and_models(report: RunReport) -> None:
    _, resources = read_bundle(report)
    [specimen], [device] = resources["Specimen"], resources["Device"]
    name = specimen["identifier"][0]["value"]
    assert name == report.sample_id if report.sample_id.isprintable() else "\\u202e\\u000d\\u000aOBX|" in name
    assert specimen["type"]["coding"][0]["code"] == "BLD"
    assert device["identifier"][0]["value"] == report.device_id
    assert all(report.models[0].sha256 in each["value"] for each in device["version"][1:])


def test_fhir_without_a_set_clock_has_no_time_and_without_cells_no_percentage(report: RunReport) -> None:
    none = msgspec.structs.replace(report.machine.differential, n=0, rows=())
    empty = msgspec.structs.replace(report.machine, counts={}, differential=none)
    changed = msgspec.structs.replace(report, clock_synced=False, machine=empty, reviewed=empty, quality_check=None)
    raw, resources = read_bundle(changed)
    assert not {"effectivePeriod", "issued"} & resources["DiagnosticReport"][0].keys()
    assert "timestamp" not in raw
    neutrophil = next(each for each in resources["Observation"] if each["code"]["text"] == "neutrophil")
    assert neutrophil["dataAbsentReason"]["coding"][0]["code"] == "not-a-number"


def segments(report: RunReport) -> list[list[str]]:
    return [segment.split("|") for segment in hl7.write(report).decode().split("\r")[:-1]]


def unescaped(text: str) -> str:
    letters = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "X0D": "\r", "X0A": "\n"}
    return re.sub(r"\\(F|S|T|R|E|X0D|X0A)\\", lambda found: letters[found[1]], text)


def test_hl7_read_back(report: RunReport) -> None:
    found = segments(report)
    assert [each[0] for each in found if each[0] != "NTE"] == ["MSH", "OBR", *["OBX"] * (len(obx(found))), "SPM"]
    assert (found[0][8], found[0][10], found[0][11]) == ("ORU^R01^ORU_R01", "T", "2.5.1")
    assert (found[1][3], found[1][25]) == (report.run_id, "P")
    assert unescaped(found[-1][2]).replace("\\u202e", "\u202e") == report.sample_id
    expected = {
        f"{line.name.replace('_', ' ')} {who} {name}": round(number, 4)
        for line in lines(report)
        for who, figure in (("machine", line.machine), ("reviewed", line.reviewed))
        for name, number in figure._asdict().items()
        if number is not None
    }
    frames = {f"frames {fate}": float(n) for fate, n in msgspec.structs.asdict(report.frames).items()}
    told = {(each[3].split("^") * 2)[4 if "^LN^" in each[3] else 1]: float(each[5]) for each in obx(found)}
    assert told == {**expected, **frames}
    assert {each[11] for each in obx(found)} == {"P"}
    notes = [each[3] for each in found if each[0] == "NTE"]
    assert (notes[0], loinc.NOTICE in notes) == (NOTICE, True)


def obx(found: list[list[str]]) -> list[list[str]]:
    return [each for each in found if each[0] == "OBX"]


def test_hl7_gives_loincs_code_to_what_it_means_only(report: RunReport) -> None:
    named = [(each[3].split("^")[0], each[3].split("^")[4], each[6]) for each in obx(segments(report)) if "^LN^" in each[3]]
    assert named == [
        ("26511-6", "neutrophil reviewed percent", "%^^UCUM"),
        ("19048-8", "erythroblast reviewed per_100", "/100{WBCs}^^UCUM"),
    ]


@pytest.mark.parametrize("text", [ODD, "a|b^c&d~e\\f", "\\F\\", "\r\n"])
def test_hl7_escapes_what_would_end_a_field(text: str) -> None:
    sent = hl7.escaped(text)
    assert re.fullmatch(r"(?:\\(?:F|S|T|R|E|X0D|X0A)\\|[^\\|^&~\r\n])*", sent)
    assert unescaped(sent).replace("\\u202e", "\u202e") == text


def test_a_class_name_out_of_a_made_up_journal_breaks_no_form(report: RunReport) -> None:
    meaning = CellClass(name="neutrophil", abbreviation="N", group="leukocyte", in_differential=True)
    hostile = msgspec.structs.replace(report.machine, counts={**report.machine.counts, "a|b\r<x>": 0})
    changed = msgspec.structs.replace(report, machine=hostile, reviewed=hostile, classes=(*report.classes, meaning))
    read_bundle(changed)
    assert len({len(row) for row in csv.reader(io.StringIO(table.write(changed).decode(), newline=""))}) == 1
    assert {each[0] for each in segments(changed)} == {"MSH", "OBR", "NTE", "OBX", "SPM"}
