"""A report as an HL7 v2.5.1 message, ORU^R01, for laboratories without FHIR. It is written only where it is asked for.

Its status is preliminary, its processing id T (training): a system that knows neither word must not take it for a result. It
has no PID segment, since edgecell knows no patient.
"""

import hashlib
import re
from collections.abc import Iterator

from edgecell.report import loinc, words
from edgecell.report.lines import Figure, lines
from edgecell.report.run import RunReport

LOCAL = "99EDGECELL"
"""Coding system of what has no LOINC code."""
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": "\\X0D\\", "\n": "\\X0A\\"}


def write(report: RunReport) -> bytes:
    """UTF-8, segments end with CR."""
    rest = "".join(f"{segment}\r" for segment in _segments(report))
    return (_head(report, hashlib.sha256(rest.encode()).hexdigest()) + "\r" + rest).encode()


def escaped(text: str) -> str:
    """Text that ends no field, whatever it holds (HL7 v2.5.1, 2.7)."""
    return "".join(_ESCAPES.get(letter) or words.plain(letter).replace("\\", "\\E\\") for letter in text)


def _head(report: RunReport, content: str) -> str:
    """MSH. content: sha256 of all that follows; its beginning tells messages apart (MSH-10 takes 20 characters)."""
    time = _time(report.ended.utc if report.ended else report.began_utc)
    head = [
        "MSH",
        "^~\\&",
        "edgecell",
        escaped(report.device_id),
        "",
        "",
        time,
        "",
        "ORU^R01^ORU_R01",
        content[:20],
        "T",
        "2.5.1",
    ]
    return "|".join([*head, *[""] * 5, "UNICODE UTF-8"])


def _segments(report: RunReport) -> Iterator[str]:
    began, ended = _time(report.began_utc), _time(report.ended.utc) if report.ended else ""
    panel = _code(loinc.PANELS.get(report.specimen, ""), "cell differential")
    yield "|".join(["OBR", "1", "", escaped(report.run_id), panel, "", "", began, ended, *[""] * 13, ended, "", "HM", "P"])
    notes = [report.notice, words.reviewing(report), *words.warnings(report), *words.lacking(report), loinc.NOTICE]
    if report.corrected is not None:
        notes.append(words.correction(report))
    if report.operators:
        notes.append(f"operator: {', '.join(report.operators)}")
    if not report.clock_synced:
        notes.append("the clock of the device was not set: all times here mean nothing")
    yield from (f"NTE|{number}||{escaped(note)}" for number, note in enumerate(notes, 1))
    yield from (f"OBX|{number}|NM|{each}|||||P" for number, each in enumerate(_figures(report), 1))
    yield f"SPM|1|{escaped(report.sample_id)}||{escaped(report.specimen)}"


def _figures(report: RunReport) -> Iterator[str]:
    """OBX-3 to OBX-6. Only the value of a line, as reviewed, goes by LOINC's code: nobody may file a count as a percentage."""
    for line in lines(report):
        for who, figure in (("machine", line.machine), ("reviewed", line.reviewed)):
            for name, number in zip(Figure._fields, figure, strict=True):
                code = line.loinc if who == "reviewed" and name == line.value else ""
                if number is not None:
                    what = _code(code, f"{words.title(line.name)} {who} {name}")
                    yield f"{what}||{round(number, 4)}|{line.unit(name)}^^UCUM"
    for fate in report.frames.__struct_fields__:
        yield f"{_code('', f'frames {fate}')}||{getattr(report.frames, fate)}|{{frames}}^^UCUM"


def _code(code: str, text: str) -> str:
    """CWE: LOINC's code, if there is one, and always our own."""
    own = f"{escaped(text.replace(' ', '-'))}^{escaped(text)}^{LOCAL}"
    return f"{code}^{escaped(loinc.NAMES.get(code, ''))}^LN^{own}" if code else own


def _time(utc: str) -> str:
    """ISO 8601 in UTC -> YYYYMMDDHHMMSS+0000; "" for what is no such time."""
    digits = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z", utc)
    return f"{''.join(digits.groups())}+0000" if digits else ""
