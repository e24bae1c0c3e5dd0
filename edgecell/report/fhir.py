"""A report as a FHIR R4B Bundle (http://hl7.org/fhir/R4B): preliminary DiagnosticReport, Observations, Device and Specimen.

It names no patient: a laboratory's system knows whose sample it is. Times of a device whose clock is not set are left out.
Percentages and limits have four decimals, more than any count bears.
"""

import uuid
from typing import Any

import msgspec

from edgecell.report import loinc, words
from edgecell.report.lines import Figure, Line, lines
from edgecell.report.run import Check, RunReport

LOCAL = "urn:edgecell:report"
"""Code system of what has no LOINC code."""
UCUM = "http://unitsofmeasure.org"
TERMS = "http://terminology.hl7.org/CodeSystem"
SPECIMENS = {"blood": ("BLD", "Whole blood"), "marrow": ("MAR", "Marrow")}
"""HL7's table 0487. Of lavage fluid it has no code that says from where."""
FRAMES = "{frames}"

Resource = dict[str, Any]


def write(report: RunReport) -> bytes:
    """The Bundle as JSON, UTF-8."""
    return msgspec.json.format(msgspec.json.encode(bundle(report)), indent=2) + b"\n"


def bundle(report: RunReport) -> Resource:
    """The Bundle as plain values. The ids of its resources follow from the run's, so that a later report replaces them."""
    observations = [_observation(report, line) for line in lines(report)]
    observations.append(_frames(report))
    if report.quality_check is not None:
        observations.append(_quality(report, report.quality_check))
    resources = [_report(report, observations), *observations, _device(report), _specimen(report)]
    entries = [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in resources]
    told: Resource = {
        "resourceType": "Bundle",
        "id": _id(report, "bundle"),
        "meta": _meta(),
        "type": "collection",
        "entry": entries,
    }
    return _dated(told, report, "timestamp")


def _report(report: RunReport, observations: list[Resource]) -> Resource:
    conclusion = (
        ". ".join([report.notice.rstrip("."), words.reviewing(report), *words.warnings(report), *words.lacking(report)]) + "."
    )
    signed = report.review.signed_off
    resource = {
        **_resource(report, "DiagnosticReport", "report", f"{report.notice} {loinc.NOTICE}"),
        "identifier": [{"system": "urn:edgecell:run", "value": words.plain(report.run_id)}],
        "status": "preliminary",
        "category": [{"coding": [_coding(f"{TERMS}/v2-0074", "HM", "Hematology")]}],
        "code": _code(loinc.PANELS.get(report.specimen, ""), "cell differential"),
        "specimen": [_reference(report, "specimen")],
        "result": [{"reference": f"urn:uuid:{each['id']}"} for each in observations],
        "conclusion": conclusion,
        **({"performer": [{"display": words.plain(each)} for each in report.operators]} if report.operators else {}),
        **({"resultsInterpreter": [{"display": words.plain(signed.operator)}]} if signed else {}),
    }
    return _dated(_timed(resource, report), report, "issued")


def _observation(report: RunReport, line: Line) -> Resource:
    """The value is as reviewed. Components give all figures, as the machine has them and as reviewed."""
    sides = (("machine", line.machine), ("reviewed", line.reviewed))
    parts = [
        _part(f"{side}-{name}", number, line.unit(name))
        for side, figure in sides
        for name, number in zip(Figure._fields, figure, strict=True)
        if number is not None
    ]
    told = {**_basic(report, line.name, _code(line.loinc, words.title(line.name))), **_value(line), "component": parts}
    method = _method(report, line)
    return {**told, "method": {"text": words.plain(method)}} if method else told


def _method(report: RunReport, line: Line) -> str:
    """Of its limits."""
    if line.part == "differential":
        return report.machine.differential.method
    if line.part == "marrow" and report.marrow is not None:
        return report.marrow.reviewed.method
    return words.correction(report) if line.part == "corrected" else ""


def _value(line: Line) -> Resource:
    number: float | None = getattr(line.told, line.value)
    if number is None:  # no cell that it could be of
        return {"dataAbsentReason": {"coding": [_coding(f"{TERMS}/data-absent-reason", "not-a-number", "Not a Number (NaN)")]}}
    return {"valueQuantity": _quantity(number, line.unit(line.value))}


def _frames(report: RunReport) -> Resource:
    fates = msgspec.structs.asdict(report.frames)
    captured = {"valueQuantity": _quantity(fates.pop("captured"), FRAMES)}
    parts = [_part(fate, count, FRAMES) for fate, count in fates.items()]
    parts += [_part(f"gated: {words.plain(why)}", n, FRAMES) for why, n in report.gated_reasons.items()]
    return {**_basic(report, "frames", _code("", "frames captured")), **captured, "component": parts}


def _quality(report: RunReport, check: Check) -> Resource:
    """Whether the device's latest quality check before the run was passed, and what it measured."""
    parts: list[Resource] = []
    for row in check.rows:
        part: Resource = {"code": _code("", words.plain(row.name))}
        if row.measured is None:
            part["dataAbsentReason"] = {"coding": [_coding(f"{TERMS}/data-absent-reason", "unknown", "Unknown")]}
        else:
            part["valueQuantity"] = {"value": row.measured}
        part["referenceRange"] = [{"low": {"value": row.low}, "high": {"value": row.high}}]
        parts.append(part)
    basic = _basic(report, "quality-check", _code("", "quality check passed"))
    basic.pop("effectivePeriod", None)  # it is not of the run
    when = {"effectiveDateTime": check.utc} if check.clock_synced else {}
    note = [*basic["note"], {"text": f"slide {words.plain(check.slide)}, {check.fields} fields"}]
    return {**basic, **when, "note": note, "valueBoolean": check.passed, "component": parts}


def _device(report: RunReport) -> Resource:
    versions = [{"type": {"text": "edgecell"}, "value": words.plain(report.version)}]
    for model in report.models:
        told = f"{model.name} {model.version}, sha256 {model.sha256}, {model.engine}; {model.proof or 'proof not recorded'}"
        versions.append({"type": {"text": f"model of {words.plain(model.role)}"}, "value": words.plain(told)})
    return {
        **_resource(report, "Device", "device", report.notice),
        "identifier": [{"system": "urn:edgecell:device", "value": words.plain(report.device_id)}],
        "deviceName": [{"name": "edgecell", "type": "model-name"}],
        "version": versions,
    }


def _specimen(report: RunReport) -> Resource:
    code = SPECIMENS.get(report.specimen)
    told: Resource = {"text": words.plain(report.specimen) or "not recorded"}
    return {
        **_resource(report, "Specimen", "specimen", report.notice),
        "identifier": [{"system": "urn:edgecell:sample", "value": words.plain(report.sample_id)}],
        "type": {"coding": [_coding(f"{TERMS}/v2-0487", *code)], **told} if code else told,
    }


def _basic(report: RunReport, name: str, code: Resource) -> Resource:
    """What every Observation has."""
    told = {
        **_resource(report, "Observation", name, report.notice),
        "status": "preliminary",
        "category": [{"coding": [_coding(f"{TERMS}/observation-category", "laboratory", "Laboratory")]}],
        "code": code,
        "specimen": _reference(report, "specimen"),
        "device": _reference(report, "device"),
        "note": [{"text": report.notice}],
    }
    return _timed(told, report)


def _resource(report: RunReport, kind: str, name: str, text: str) -> Resource:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{words.markup(text)}</p></div>'
    return {
        "resourceType": kind,
        "id": _id(report, name),
        "meta": _meta(),
        "text": {"status": "generated", "div": div},
    }


def _meta() -> Resource:
    return {"tag": [_coding("urn:edgecell:use", "research-use-only", "For research use only")]}


def _timed(told: Resource, report: RunReport) -> Resource:
    """With the period of the run, if the clock was set."""
    if not report.clock_synced:
        return told
    end = {"end": report.ended.utc} if report.ended else {}
    return {**told, "effectivePeriod": {"start": report.began_utc, **end}}


def _dated(told: Resource, report: RunReport, field: str) -> Resource:
    """With the time at which the figures were there, if the clock was set."""
    return {**told, field: report.ended.utc} if report.ended and report.clock_synced else told


def _part(name: str, number: float, unit: str) -> Resource:
    return {"code": _code("", name), "valueQuantity": _quantity(number, unit)}


def _quantity(number: float, unit: str) -> Resource:
    """unit: UCUM's code, which is what a person reads too, without the braces."""
    name = unit.replace("{", " ").replace("}", "").strip()
    return {"value": round(number, 4), "unit": name, "system": UCUM, "code": unit}


def _code(code: str, text: str) -> Resource:
    """LOINC's code, if there is one, and always our own."""
    known = [_coding(loinc.SYSTEM, code, loinc.NAMES.get(code, ""))] if code else []
    return {"coding": [*known, _coding(LOCAL, text.replace(" ", "-"), text)], "text": text}


def _coding(system: str, code: str, display: str) -> Resource:
    return {"system": system, "code": code, **({"display": display} if display else {})}


def _reference(report: RunReport, name: str) -> Resource:
    return {"reference": f"urn:uuid:{_id(report, name)}"}


def _id(report: RunReport, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:edgecell:{report.run_id}:{name}"))
