"""What the user asks for: one TOML file, decoded with errors that name file, field and fix.

    device_id = "bench-3"
    sample_id = "slide-17"

    [source]
    part = "images"             # a name from edgecell/sources; the rest of the table belongs to that part
    path = "fields"             # relative to this file; [source.options] may hold the same keys

    [models]
    nucleated = "pbc8"          # kind of cell -> name of a shipped bundle, or a folder ("./bundles/mine")

    [trust]
    require = "signature"       # of every bundle: "nothing", "certificate", or one signed by a key of these
    keys = ["lab.signing.pub"]

    [run]
    window_s = 1.0
    counting = "new_area"       # every cell once, however the slide is pushed; without it once in each frame

    [run.stop]
    cells = 200                 # end by itself after so many cells of the differential; or width = 5.0, classes = ["monocyte"]

    [optics]
    file = "optics.toml"        # what `edgecell optics` measured; without it frames are used as they come

    [journal]
    path = "journal"            # folder; without it $XDG_STATE_HOME/edgecell/journal

`[segmenter]`, `[engine]` and `[publisher]` choose a part in the same way as `[source]`. What a part's own keys mean is typed by
the part (its `Options` struct); `decode_options` turns the one into the other when the composition root has found the class.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgecell.errors import SettingsError
from edgecell.signature import Trust
from edgecell.tomlfile import converted, read_toml

FIRST = ""
"""Key for the value of a spec such as `images:PATH`: it goes to the first option of the part, whatever its name."""

AUTO = "auto"
"""As segmenter, the one for the specimen: `network` for blood, whose model has learnt blood smears only, else `stain`. As
engine, the fastest that answers as certified, where `edgecell prepare` has compared them on the device; else TensorRT where it
can be used and the bundle's plan was prepared and verified there, else ONNX Runtime."""

ROLES = ("source", "segmenter", "engine", "publisher")

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^(?!\s*$)[^\x00-\x1f\x7f]+$(?!\n)")]
"""One line that is not blank. `$` alone would let a line's end pass behind it."""
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class PartSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A part by name, with its own options still untyped.

    where: what an error calls this table. base: folder that relative paths start from, "" for the working directory.
    from_text: the values are text from a command line, so that "3" may become 3.
    """

    part: str
    options: dict[str, Any] = {}
    where: str = "settings"
    base: str = ""
    from_text: bool = False


Counting = Literal["every_frame", "new_area"]


class StopSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a run ends by itself: one of the two rules.

    cells: when so many cells of the differential are counted. width: when the 95 % intervals of all `classes`, which are in the
    differential, are narrower than so many percentage points.
    """

    cells: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    width: Annotated[float, msgspec.Meta(gt=0, lt=100)] | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.cells is None) == (self.width is None):
            raise ValueError("stop is either cells = N or width = POINTS, and one of them")
        if (self.width is None) == bool(self.classes):
            raise ValueError("classes go with width: it needs at least one, and cells has none")


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run goes on. max_frames: stop after so many, None for no limit. window_s, heartbeat_s: seconds between messages.

    read_timeout_s: seconds without a frame before the source counts as timed out.
    counting: "every_frame" counts a cell in every frame that shows it, "new_area" once, where the slide was not counted before:
    frames are registered, those that move are refused.
    batch_wait_ms: longest that a frame waits for others to share the classifiers' batch; 0 takes what lies ready.
    hang_s: seconds at one piece of work after which a stage counts as hanging. memory_mib: most that the process should hold.
    stop: when enough is counted; None goes on to the end of the source.
    """

    max_frames: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stop: StopSettings | None = None
    window_s: Seconds = 1.0
    heartbeat_s: Seconds = 1.0
    read_timeout_s: Seconds = 5.0
    counting: Counting = "every_frame"
    batch_wait_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 1.0
    hang_s: Seconds = 30.0
    memory_mib: Annotated[int, msgspec.Meta(ge=64)] | None = None


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The durable record. enabled: whether it is kept. path: its folder, "" for the user's own (`folder`).

    key: file with a private key that signs every window, "" for none. crops: keep pictures of the cells that a classifier
    labelled. crop_budget_mib: most MiB that all pictures may take together; the oldest go first.
    """

    enabled: bool = True
    path: str = ""
    key: str = ""
    crops: bool = False
    crop_budget_mib: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)] = 1024

    @property
    def folder(self) -> Path:
        """Where the journal lies: without a path in $XDG_STATE_HOME, or ~/.local/state, under edgecell/journal."""
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return Path(self.path) if self.path else state / "edgecell" / "journal"


class OpticsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of camera and objective. file: as `edgecell optics` measured it, "" for none: frames are used as they
    come."""

    file: str = ""


class QcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The quality check. limits: file that `edgecell qc` compares a slide with, "" for none."""

    limits: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a run. device_id, sample_id: 1 to 128 printable characters. models: kind of cell -> bundle name or folder.

    operator: who sits at the microscope, "" if nobody said. It goes into the journal, and nowhere else.
    journal: None where nobody has said anything about it: the command line decides.
    """

    device_id: Id = "edgecell"
    sample_id: Id = "unnamed"
    operator: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")] = ""
    source: PartSettings = PartSettings(part="phantom", where="[source]")
    segmenter: PartSettings = PartSettings(part=AUTO, where="[segmenter]")
    engine: PartSettings = PartSettings(part=AUTO, where="[engine]")
    publisher: PartSettings = PartSettings(part="zmq", where="[publisher]")
    optics: OpticsSettings = OpticsSettings()
    qc: QcSettings = QcSettings()
    models: dict[str, str] = msgspec.field(default_factory=lambda: {"nucleated": "pbc8"})
    trust: Trust = Trust()
    run: RunSettings = RunSettings()
    journal: JournalSettings | None = None


def load(path: Path) -> Settings:
    """The settings in a TOML file. Relative folders in it are relative to the file. Raises SettingsError."""
    table = read_toml(path, "settings")
    base = path.resolve().parent
    for role in ROLES:
        if role in table:
            table[role] = _part_table(role, table[role], path, base)
    settings = converted(table, Settings, where=str(path))
    models = {kind: bundle_folder(name, base) for kind, name in settings.models.items()}
    keys = tuple(_from(base, key) for key in settings.trust.keys)
    trust, journal = msgspec.structs.replace(settings.trust, keys=keys), settings.journal
    if journal is not None:
        journal = msgspec.structs.replace(journal, path=_from(base, journal.path), key=_from(base, journal.key))
    optics = msgspec.structs.replace(settings.optics, file=_from(base, settings.optics.file))
    qc = msgspec.structs.replace(settings.qc, limits=_from(base, settings.qc.limits))
    return msgspec.structs.replace(settings, models=models, trust=trust, journal=journal, optics=optics, qc=qc)


def checked(chosen: Settings) -> Settings:
    """The same settings, after values from the command line were put in unchecked. Raises SettingsError."""
    return converted(msgspec.to_builtins(chosen), Settings, where="command line")


def _from(base: Path, path: str) -> str:
    """A path made absolute from `base`; none stays none."""
    return path and str(_path(path, base).resolve())


def bundle_folder(name: str, base: Path) -> str:
    """A bundle's name as it is; a folder (anything with a slash, or starting with . or ~) made absolute from `base`.

    Raises SettingsError for what can be no folder.
    """
    is_folder = "/" in name or name.startswith((".", "~"))
    return str(_path(name, base).resolve()) if is_folder else name


def _path(text: str, base: Path) -> Path:
    """`text` from `base`, with ~ for a home folder. Raises SettingsError for what can be no path."""
    try:
        if "\0" not in text:
            return base / Path(text).expanduser()
        why = "a path has no zero bytes"
    except RuntimeError as error:
        why = str(error).rstrip(".")
    raise SettingsError(f"{text!r} is no path: {why}", fix="correct the path")


def source_from_spec(spec: str) -> PartSettings:
    """A source from the command line: `phantom`, `images:PATH`, `phantom:seed=3,width=640`. Raises SettingsError."""
    return part_from_spec("source", spec, "phantom, images:fields/ or phantom:seed=3,width=640")


def segmenter_from_spec(spec: str) -> PartSettings:
    """A segmenter from the command line: `stain`, `network`, `network:BUNDLE`. Raises SettingsError."""
    return part_from_spec("segmenter", spec, "stain, network or network:bundles/mine")


def engine_from_spec(spec: str) -> PartSettings:
    """An engine from the command line: `auto`, `trt`, `openvino`, `onnxrt:threads=2`. Raises SettingsError."""
    return part_from_spec("engine", spec, "auto, trt, openvino or onnxrt:threads=2")


def part_from_spec(role: str, spec: str, examples: str) -> PartSettings:
    """A part from the command line. Raises SettingsError.

    After the colon stands either the value of the part's first option or `name=value` pairs, separated by commas.
    """
    part, colon, rest = spec.partition(":")
    if not part or (colon and not rest):
        fix = f"write NAME, NAME:VALUE or NAME:key=value,key=value, e.g. {examples}"
        raise SettingsError(f"{role} {spec!r} is not a {role} specification", fix=fix)
    pairs = [re.fullmatch(r"([a-z_][a-z0-9_]*)=(.*)", piece) for piece in rest.split(",")] if rest else []
    options = {pair[1]: pair[2] for pair in pairs if pair} if all(pairs) else {FIRST: rest}
    return PartSettings(part=part, options=options, where=f"{role} {spec!r}", from_text=True)


def decode_options(part_class: type[Any], chosen: PartSettings) -> Any:
    """`chosen.options` as the part's own `Options` struct. Fields typed Path start from `chosen.base`. Raises SettingsError."""
    fields = msgspec.structs.fields(part_class.Options)
    options = dict(chosen.options)
    if FIRST in options:
        if not fields:
            raise SettingsError(f"{chosen.where}: {chosen.part} has no options", fix=f"write just {chosen.part}")
        options[fields[0].encode_name] = options.pop(FIRST)

    def decode_path(wanted: type[Any], value: object) -> object:
        if wanted is Path and isinstance(value, str):
            return _path(value, Path(chosen.base))
        raise TypeError(f"Expected `{'path' if wanted is Path else wanted.__name__}`, got `{type(value).__name__}`")

    return converted(options, part_class.Options, where=chosen.where, strict=not chosen.from_text, dec_hook=decode_path)


def plain_options(options: msgspec.Struct) -> dict[str, Any]:
    """A part's options as JSON holds them, paths made whole."""

    def told(value: object) -> str:
        return str(value.resolve() if isinstance(value, Path) else value)

    plain: dict[str, Any] = msgspec.to_builtins(options, enc_hook=told)
    return plain


def _part_table(role: str, table: object, path: Path, base: Path) -> dict[str, Any]:
    """A part's table with its own keys, inline or under `options`, gathered in one place."""
    where = f"{path} [{role}]"
    default: PartSettings = getattr(Settings(), role)
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: {role} must be a table", fix=f'write [{role}] and below it part = "{default.part}"')
    inline = {key: value for key, value in table.items() if key not in ("part", "options")}
    below = table.get("options", {})
    if not isinstance(below, dict):
        raise SettingsError(f"{where}: options must be a table", fix=f"write [{role}.options]")
    twice = sorted(inline.keys() & below.keys())
    if twice:
        raise SettingsError(f"{where}: {twice[0]} stands twice", fix=f"keep it in [{role}] or in [{role}.options]")
    part = table.get("part", default.part)
    return {"part": part, "options": {**inline, **below}, "where": where, "base": str(base)}
