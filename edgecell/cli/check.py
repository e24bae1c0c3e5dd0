"""`edgecell check`: whether a settings file would run, found out without camera, engine or socket."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from edgecell import app, engines, plugins, publishers, segmenters, settings, sources
from edgecell.bundle import Bundle, open_bundle
from edgecell.errors import EdgecellError, EngineError, MissingDependency, SettingsError
from edgecell.journal import store
from edgecell.journal.recording import device_key
from edgecell.messages import Kind
from edgecell.optics.file import MEASURED, used
from edgecell.quality.reference import load as load_limits
from edgecell.routing import open_bundles
from edgecell.settings import AUTO, JournalSettings, PartSettings, Settings, decode_options
from edgecell.signature import Trust

TABLES = {"source": sources.TABLE, "segmenter": segmenters.TABLE, "engine": engines.TABLE, "publisher": publishers.TABLE}


MADE = frozenset({"cache"})
"""Paths that edgecell makes itself."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. warning: fine here, but not usable on this machine. error: what to put right."""

    subject: str
    ok: bool
    detail: str
    warning: str = ""
    fix: str = ""


@click.command()
@click.argument("path", metavar="SETTINGS.toml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print every finding as one JSON line.")
def command(path: Path, as_json: bool) -> None:
    """Check a settings file: keys, values, parts and their options, model bundles (every checksum, certificate and, where
    `[trust]` lists keys, signature), optics, paths, endpoint, the journal's key, and whether a journal that is there can
    be gone on with.

    Camera, engine and socket stay closed, so a file for another machine can be checked here; what this machine lacks for it is
    a warning. Exit code 0 when the file is good, else that of the first error.

    \b
    Examples:
      edgecell check bench.toml
      edgecell check bench.toml --json
    """
    chosen = settings.load(path)
    failures = []
    for subject, look in _looks(chosen):
        try:
            finding = look()
        except EdgecellError as error:
            failures.append(error)
            finding = Finding(subject=subject, ok=False, detail=error.what, fix=error.fix)
        _tell(finding, as_json)
    for also in failures[1:]:
        click.echo(f"error: {also}", err=True)
    if failures:
        raise failures[0]
    click.echo(f"{path} is good", err=as_json)


def _looks(chosen: Settings) -> Iterator[tuple[str, Callable[[], Finding]]]:
    for role in settings.ROLES:
        part: PartSettings = getattr(chosen, role)
        own = {"segmenter": _look_at_segmenter, "engine": _look_at_engine}.get(role)
        yield role, partial(own, chosen) if own else partial(_look_at_part, role, part, chosen.trust)
    for kind, name in chosen.models.items():
        yield f"models.{kind}", partial(_look_at_bundle, kind, name, chosen.trust)
    if chosen.optics.file:
        yield "optics", partial(_look_at_optics, chosen)
    if chosen.qc.limits:
        yield "qc", partial(_look_at_limits, Path(chosen.qc.limits))
    yield "journal", partial(_look_at_journal, chosen.journal or JournalSettings())


def _look_at_segmenter(chosen: Settings) -> Finding:
    """Which one it is may depend on the bundles; what is wrong with those is found where they are looked at."""
    try:
        bundles = open_bundles(chosen.models, chosen.trust)
    except EdgecellError:
        bundles = {}
    return _look_at_part("segmenter", app.segmenter_for(chosen.segmenter, bundles), chosen.trust)


def _look_at_engine(chosen: Settings) -> Finding:
    """The one that was asked for, and whether it can run the bundles here, or those that this machine would choose."""
    try:
        bundles = open_bundles(chosen.models, chosen.trust)
    except EdgecellError:  # found where bundles are looked at
        bundles = {}
    if chosen.engine.part != AUTO:
        finding = _look_at_part("engine", chosen.engine, chosen.trust)
        return finding if finding.warning else msgspec.structs.replace(finding, warning=_unready(chosen.engine, bundles))
    engines = app.engines_for(chosen.engine, bundles)
    here = "; ".join(f"here {each.name} for {kind}, {each.why}" for kind, each in engines.items())
    return Finding(subject="engine", ok=True, detail=f"{AUTO} ({here})" if here else AUTO)


def _unready(asked: PartSettings, bundles: Mapping[Kind, Bundle]) -> str:
    """Why the engine cannot run one of the bundles on this machine, "" where it can run all."""
    try:
        for kind, engine in app.engines_for(asked, bundles).items():
            engine.part.encoding_of(bundles[kind], engine.options)
    except (EngineError, MissingDependency) as error:
        return str(error)
    return ""


def _look_at_part(role: str, chosen: PartSettings, trust: Trust) -> Finding:
    """Whether the part exists, its options decode, its paths and its model are there and what it needs is installed."""
    part = plugins.load(role, TABLES[role], chosen.part)
    options = decode_options(part, chosen)
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if isinstance(value, Path) and name not in MADE and not value.exists():
            raise SettingsError(f"{chosen.where}: {name} {value} does not exist", fix="correct the path, or make it")
    if role == "publisher":
        part(options)  # looks at the form of its endpoint; nothing is opened before it is entered
    model = getattr(options, "model", None)
    if role == "segmenter" and model is not None:
        open_bundle(settings.bundle_folder(model, Path(chosen.base)), trust)
    probe = part.probe()
    return Finding(subject=role, ok=True, detail=_one_line(chosen.part, options), warning="" if probe.usable else probe.missing)


def _look_at_bundle(kind: str, name: str, trust: Trust) -> Finding:
    bundle = open_bundle(name, trust)
    manifest = bundle.manifest
    return Finding(
        subject=f"models.{kind}",
        ok=True,
        detail=f"{manifest.name} {manifest.version}, {len(manifest.classes)} classes, files intact; {bundle.proof}",
    )


def _look_at_optics(chosen: Settings) -> Finding:
    """Whether the file can be used, and what it holds."""
    pixel_um = chosen.segmenter.options.get("pixel_um")
    optics = used(chosen.optics.file, pixel_um if isinstance(pixel_um, float) else None)
    held = [name for name in MEASURED if getattr(optics, name) is not None]
    return Finding(subject="optics", ok=True, detail=f"{chosen.optics.file}: {', '.join(held) or 'nothing measured yet'}")


def _look_at_limits(path: Path) -> Finding:
    """The quality check's, which it writes itself."""
    if not path.exists():
        return Finding(
            subject="qc", ok=True, detail=str(path), warning="no such file: make it with edgecell qc --set-reference"
        )
    return Finding(subject="qc", ok=True, detail=f"{path}, limits of {load_limits(path).slide}")


def _look_at_journal(chosen: JournalSettings) -> Finding:
    """Where it would lie, whether the key that is to sign it can be used, and what becomes of one that is there. Its folder is
    made when a run begins."""
    if not chosen.enabled:
        return Finding(subject="journal", ok=True, detail="none is kept")
    key = device_key(chosen.key)
    detail = f"{chosen.folder}, {f'signed by key {key.id}' if key else 'not signed'}"
    try:
        schema = store.schema_of(chosen.folder)
    except PermissionError as error:
        return Finding(subject="journal", ok=True, detail=detail, warning=f"{error.filename} may not be read by this user")
    if schema is not None and schema < store.VERSION:
        detail += (
            f"; the next run brings it from schema {schema} to {store.VERSION}, and older edgecells refuse it from then on"
        )
    return Finding(subject="journal", ok=True, detail=detail)


def _one_line(part: str, options: Any) -> str:
    values = ", ".join(f"{name}={getattr(options, name)}" for name in options.__struct_fields__)
    return f"{part} ({values})" if values else part


def _tell(finding: Finding, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(finding).decode())
        return
    if finding.ok:
        click.echo(f"ok  {finding.subject}: {finding.detail}")
    if finding.warning:
        click.echo(f"warning: {finding.subject} is not usable on this machine: {finding.warning}", err=True)
