"""`edgecell doctor`: what this machine has, what it lacks, and how to get it."""

import importlib
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgecell import __version__, clock, plugins, processor
from edgecell.cli import doctor_device
from edgecell.cli.entry import GIB, Entry, read
from edgecell.errors import BundleError, EdgecellError, MissingDependency
from edgecell.messages import NOTICE
from edgecell.processor import INT8_FLAGS

if TYPE_CHECKING:
    from edgecell.accelerators import Accelerators

LIBRARIES = {
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "onnxruntime": "onnxruntime",
    "pyzmq": "zmq",
    "msgspec": "msgspec",
    "typing-extensions": "typing_extensions",
    "click": "click",
    "rich": "rich",
}
"""Base dependencies: name of the package -> name of its module. Left out: tomli, which only Python 3.10 needs."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: a list of entries for each chapter.")
def command(as_json: bool) -> None:
    """Say what this machine has for edgecell, what it lacks, and how to get that.

    Looks at the processor, memory, libraries, every source, segmenter, engine and publisher, the model bundles (each checksum),
    accelerators (driver, CUDA, TensorRT, devices, a Jetson's power mode, prepared plans), which engine runs each bundle
    fastest, cameras and the clock. Opens no camera and no socket, changes nothing.

    Exit code 0 unless something is missing that every run needs: then 3 (a library) or 4 (a model bundle).

    \b
    Examples:
      edgecell doctor
      edgecell doctor --json | python -m json.tool
    """
    chapters = examine(Path("/"))
    if as_json:
        click.echo(msgspec.json.encode({"edgecell": __version__, **chapters, "notice": NOTICE}).decode())
    else:
        _draw(chapters)
    for chapter, error in (("libraries", MissingDependency), ("bundles", BundleError)):
        for entry in chapters[chapter]:
            if entry.needed and entry.lacks:
                raise error(f"{entry.subject} cannot be used", fix=entry.lacks)


def examine(root: Path) -> dict[str, list[Entry]]:
    """Chapter -> entries. root: where /proc, /sys, /dev and /etc are looked for."""
    libraries = [_library(package, module) for package, module in LIBRARIES.items()]
    chapters = {"machine": list(machine(root)), "libraries": libraries, "parts": list[Entry](), "bundles": list[Entry]()}
    chapters |= {"accelerators": list[Entry](), "engines": list[Entry]()}
    if not any(each.lacks for each in libraries):  # else none of these could be loaded
        # Imported here: with a broken library it does not load, and that is when a doctor is asked.
        from edgecell import accelerators
        from edgecell.cli import doctor_engines, doctor_gpu

        found = accelerators.look()
        chapters["parts"], chapters["bundles"] = list(_parts(found)), _bundles()
        chapters["accelerators"] = list(doctor_gpu.entries(root, found))
        chapters["engines"] = list(doctor_engines.entries(found.engine))
    chapters["cameras"] = list(_cameras(root))
    chapters["clock"] = [_clock()]
    return chapters


def machine(root: Path) -> Iterator[Entry]:
    """The first chapter. root: as in `examine`."""
    yield Entry(subject="Python", has=f"{platform.python_version()} ({platform.python_implementation()})")
    yield Entry(subject="system", has=f"{_system()}, Linux {platform.release()}, {platform.machine()}")
    yield _processor(root)
    yield Entry(subject="cores", has=f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    sizes = dict(line.split(":", 1) for line in read(root / "proc/meminfo").splitlines() if ":" in line)
    total, free = (_kib(sizes.get(name, "")) for name in ("MemTotal", "MemAvailable"))
    yield Entry(subject="memory", has=f"{total / GIB:.1f} GiB, {free / GIB:.1f} available" if total else "unknown")
    disk = shutil.disk_usage(".")
    yield Entry(subject="disk here", has=f"{disk.total / GIB:.1f} GiB, {disk.free / GIB:.1f} free")
    yield from doctor_device.entries(root)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _processor(root: Path) -> Entry:
    found = processor.look(root)
    slow = (
        ""
        if INT8_FLAGS & set(found.int8)
        else "; no INT8 dot product, so INT8 gains less here than on a processor that has one"
    )
    return Entry(subject="processor", has=f"{found}{slow}")


def _library(package: str, module: str) -> Entry:
    try:
        importlib.import_module(module)
        return Entry(subject=package, has=metadata.version(package), needed=True)
    except ImportError as error:  # PackageNotFoundError is one too
        fix = f"pip install --force-reinstall {package}"
        return Entry(subject=package, lacks=f"does not load ({error}): {fix}", needed=True)


def _parts(found: "Accelerators") -> Iterator[Entry]:
    """What each part's own probe says, but for TensorRT's, which was asked in a process of its own."""
    from edgecell.app import TABLES
    from edgecell.automatic import ACCELERATED

    for role, table in TABLES.items():
        for name in table:
            if (role, name) == ("engine", ACCELERATED):
                yield Entry(subject=f"{role} {name}", has=found.engine, lacks=found.no_engine)
            else:
                yield _part(role, table, name)


def _part(role: str, table: Mapping[str, str], name: str) -> Entry:
    """What the part's own probe says."""
    subject = f"{role} {name}"
    try:
        probe = plugins.load(role, table, name).probe()
    except ImportError as error:
        return Entry(subject=subject, lacks=f"does not load: {error}")
    return Entry(subject=subject, has=probe.version or ("ready" if probe.usable else ""), lacks=probe.missing)


def _bundles() -> list[Entry]:
    from edgecell.bundle import shipped

    none = Entry(subject="shipped bundles", lacks="none in this installation: install edgecell again", needed=True)
    return [_bundle(name) for name in shipped()] or [none]


def _bundle(name: str) -> Entry:
    from edgecell.bundle import open_bundle
    from edgecell.signature import Trust

    try:
        bundle = open_bundle(name, Trust())
    except EdgecellError as error:
        return Entry(subject=name, lacks=str(error), needed=True)
    manifest = bundle.manifest
    content = f"{manifest.specimen}, {len(manifest.classes)} classes, {len(manifest.files)} files intact"
    return Entry(subject=name, has=f"{manifest.version}, {content}; {bundle.proof}", needed=True)


def _cameras(root: Path) -> Iterator[Entry]:
    """Video devices by number, each with the name that its driver gives it."""
    devices = sorted(root.glob("dev/video*"), key=lambda path: (len(path.name), path.name))
    for device in devices:
        name = read(root / "sys/class/video4linux" / device.name / "name") or "unnamed"
        allowed = os.access(device, os.R_OK | os.W_OK)
        yield Entry(subject=f"/dev/{device.name}", has=name, lacks="" if allowed else "no permission: join the group video")
    if not devices:
        yield Entry(subject="video devices", lacks="no /dev/video*: plug a camera in, or use --source phantom or images:PATH")


def _clock() -> Entry:
    if clock.synced():
        return Entry(subject="clock", has="follows a time server")
    return Entry(
        subject="clock",
        lacks="not known to follow a time server (messages say clock_synced: false): timedatectl set-ntp true",
    )


def _draw(chapters: dict[str, list[Entry]]) -> None:
    """One row an entry. Text objects, so that brackets in a driver's name are not taken for markup."""
    table = Table(title=f"edgecell {__version__}", title_justify="left", show_header=False, box=box.SIMPLE)
    for chapter, entries in chapters.items():
        table.add_section()
        table.add_row(Text(chapter, style="bold"))
        for entry in entries:
            lacks = Text(entry.lacks, style="red" if entry.needed else "yellow")
            found = [Text(entry.has)] if entry.has else []
            table.add_row(Text(f"  {entry.subject}"), Text("\n").join([*found, lacks] if entry.lacks else found))
    Console().print(table)
    click.echo(NOTICE)


def _kib(text: str) -> int:
    """Bytes of a /proc/meminfo value such as `16303148 kB`; 0 if it is none."""
    number = text.split()[:1]
    return int(number[0]) * 1024 if number and number[0].isdecimal() else 0
