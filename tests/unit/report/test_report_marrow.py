"""A marrow's ratios, and a differential corrected for known confusion: in every form, and beside the counts as they are."""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pypdf
import pytest
from fhir.resources.R4B.bundle import Bundle
from report_run import MARROW, collected, marrow_run

from edgecell.bundle import open_bundle
from edgecell.correction import confusion_of, correct
from edgecell.errors import BundleError
from edgecell.marrow import ratios
from edgecell.report import fhir, form, hl7, table, words
from edgecell.report.corrected import corrected
from edgecell.report.lines import Line, lines
from edgecell.report.run import RunReport
from edgecell.wire import Model

COUNTS = {"blast": 12, "myelocyte": 150, "erythroblast": 38}


def found(report: RunReport) -> dict[str, Line]:
    return {line.name: line for line in lines(report)}


def observations(report: RunReport) -> dict[str, dict[str, Any]]:
    raw = msgspec.json.decode(Bundle.model_validate_json(fhir.write(report)).model_dump_json())
    resources = (entry["resource"] for entry in raw["entry"])
    return {each["code"]["text"]: each for each in resources if each["resourceType"] == "Observation"}


def text_of(pdf: bytes) -> str:
    return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)


def test_ratios_are_those_of_the_counts_in_every_form(tmp_path: Path) -> None:
    marrow_run(tmp_path, COUNTS)
    report, said = collected(tmp_path)
    expected = ratios(COUNTS, MARROW)
    assert expected.ratio is not None
    assert expected.blast_percent is not None
    assert report.marrow is not None
    assert report.marrow.machine == report.marrow.reviewed == expected
    ratio, blasts = found(report)["myeloid_erythroid_ratio"], found(report)["blasts"]
    assert ratio.machine[:1] + ratio.machine[2:] == (150, expected.ratio.low, expected.ratio.high, None, 150 / 38)
    assert blasts.machine[:4] == (12, 6.0, expected.blast_percent.low, expected.blast_percent.high)
    told = observations(report)
    assert float(told["myeloid erythroid ratio"]["valueQuantity"]["value"]) == round(150 / 38, 4)
    assert told["myeloid erythroid ratio"]["code"]["coding"][0]["code"] == "11138-5"
    units = {part["code"]["text"]: part["valueQuantity"]["code"] for part in told["myeloid erythroid ratio"]["component"]}
    assert (units["reviewed-low"], units["reviewed-ratio"], units["reviewed-cells"]) == ("{ratio}", "{ratio}", "{cells}")
    assert told["blasts"]["method"]["text"] == expected.method
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(table.write(report).decode(), newline=""))}
    assert float(rows["myeloid_erythroid_ratio"]["reviewed_ratio"]) == 150 / 38
    assert "|11138-5^Myeloid cells/Erythroid cells [# Ratio] in Bone marrow^LN^" in hl7.write(report).decode()
    pages = text_of(form.pdf(tmp_path, report, said))
    assert "Bone marrow differential" in pages
    assert f"3.9 ({expected.ratio.low:.1f}-{expected.ratio.high:.1f})" in pages
    assert f"6.0 % ({expected.blast_percent.low:.1f}-{expected.blast_percent.high:.1f})" in pages


def test_a_ratio_that_cannot_be_told_is_said_to_be_missing(tmp_path: Path) -> None:
    marrow_run(tmp_path, {**COUNTS, "erythroblast": 0})
    report, said = collected(tmp_path)
    [why] = words.lacking(report)
    assert why == "M:E ratio: no erythroid cell was counted"
    ratio = observations(report)["myeloid erythroid ratio"]
    assert ("valueQuantity" in ratio, "dataAbsentReason" in ratio) == (False, True)
    assert why in hl7.write(report).decode()
    assert why in text_of(form.pdf(tmp_path, report, said))


@pytest.mark.parametrize(("specimen", "more", "warned"), [("marrow", 299, True), ("marrow", 300, False), ("blood", 0, False)])
def test_a_differential_of_few_cells_is_warned_of(tmp_path: Path, specimen: str, more: int, warned: bool) -> None:
    marrow_run(tmp_path, {**COUNTS, "myelocyte": 150 + more}, specimen=specimen)
    told = [each for each in words.warnings(collected(tmp_path)[0]) if "wanted at least" in each]
    assert told == (["the differential is over 499 cells, and 500 are wanted at least"] if warned else [])


def test_a_run_of_blood_has_no_ratios(tmp_path: Path) -> None:
    marrow_run(tmp_path, COUNTS, specimen="blood")
    report, _ = collected(tmp_path)
    assert report.marrow is None
    assert not {"myeloid_erythroid_ratio", "blasts"} & found(report).keys()


def blood_run(folder: Path, sha256: str | None = None, name: str = "pbc8") -> RunReport:
    """As if made with a shipped bundle."""
    bundle = open_bundle("pbc8")
    classes = {each.name: each for each in bundle.manifest.classes}
    inside = [label for label, each in classes.items() if each.in_differential]
    counts = {label: 10 * number for number, label in enumerate(inside, 5)}
    marrow_run(folder, counts, specimen="blood", classes=classes)
    model = Model(role="nucleated", name=name, version="1.3.0", sha256=sha256 or bundle.sha256, engine="onnxruntime cpu")
    report, _ = collected(folder)
    return msgspec.structs.replace(
        report, models=tuple(msgspec.structs.replace(each, **msgspec.structs.asdict(model)) for each in report.models)
    )


def test_the_correction_stands_beside_the_counts_in_every_form(tmp_path: Path) -> None:
    raw = blood_run(tmp_path)
    report = corrected(raw)
    assert msgspec.structs.replace(report, corrected=None) == raw
    meanings = {each.name: each for each in report.classes}
    expected = correct(report.machine.counts, confusion_of(open_bundle("pbc8").manifest), meanings)
    assert report.corrected == expected
    assert expected.rows
    told = observations(report)
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(table.write(report).decode(), newline=""))}
    message = hl7.write(report).decode()
    pages = text_of(form.pdf(tmp_path, report, collected(tmp_path)[1]))
    for row in expected.rows:
        line = found(report)[f"{row.label}_corrected"]
        assert (line.part, line.machine[1:4]) == ("corrected", (row.percent, row.low, row.high))
        assert [*line.reviewed] == [None] * 6
        observation = told[f"{row.label} corrected".replace("_", " ")]
        assert float(observation["valueQuantity"]["value"]) == round(row.percent, 4)
        assert [each["system"] for each in observation["code"]["coding"]] == [fhir.LOCAL]
        assert observation["method"]["text"] == words.correction(report)
        assert float(rows[line.name]["machine_percent"]) == row.percent
        assert f"{round(row.percent, 4)}|%^^UCUM" in message
        assert f"{row.percent:.1f}" in pages
    assert "it replaces no count" in " ".join(pages.split())
    assert f"labelled cells of {expected.dataset}" in message


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sha256": "0" * 64}, "was made with another bundle pbc8 1.3.0 than is here now"),
        ({"name": "mine"}, "bundle mine 1.3.0 does not ship with edgecell"),
    ],
)
def test_a_correction_for_another_bundle_is_refused(tmp_path: Path, change: dict[str, str], why: str) -> None:
    report = blood_run(tmp_path, **change)
    with pytest.raises(BundleError, match=why) as caught:
        corrected(report)
    assert "report without --correct" in caught.value.fix
