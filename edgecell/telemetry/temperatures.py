"""Temperatures, from the kernel's thermal zones and hardware monitors.

Documentation/ABI/testing/sysfs-class-thermal and sysfs-class-hwmon: both count in thousandths of a degree Celsius.
"""

from collections.abc import Iterator
from pathlib import Path

from edgecell.telemetry.kernel import number_of, text_of

LOWEST_C, HIGHEST_C = -60.0, 200.0
"""What a sensor says beyond this is its way to say that it is off: -127, -256 and 255 degrees are such."""


def temperatures_c(sys: Path) -> dict[str, float]:
    """Degrees Celsius by sensor, named as the kernel does; sensors of one name are numbered from the second one on.

    A sensor that is off, or asleep as a Jetson's GPU may be, is left out. sys: /sys.
    """
    found: dict[str, float] = {}
    for name, thousandths in (*_zones(sys), *_monitors(sys)):
        degrees = round(thousandths / 1000, 1)
        if LOWEST_C < degrees < HIGHEST_C:
            found[_unused(name, found)] = degrees
    return found


def _zones(sys: Path) -> Iterator[tuple[str, int]]:
    for zone in _numbered(sys / "class/thermal", "thermal_zone"):
        value = number_of(zone / "temp")
        if value is not None:
            yield text_of(zone / "type") or zone.name, value


def _monitors(sys: Path) -> Iterator[tuple[str, int]]:
    """Those of disks, AMD processors and others that are no thermal zone; zones show up a second time as monitors."""
    for monitor in _numbered(sys / "class/hwmon", "hwmon"):
        if (monitor / "device").resolve().name.startswith("thermal_zone"):
            continue
        for file in sorted(monitor.glob("temp*_input")):
            value = number_of(file)
            label = text_of(monitor / file.name.replace("_input", "_label"))
            if value is not None:
                yield " ".join(filter(None, [text_of(monitor / "name") or monitor.name, label])), value


def _numbered(folder: Path, prefix: str) -> list[Path]:
    """Entries of a folder by their number: zone 2 before zone 10."""
    return sorted(folder.glob(f"{prefix}[0-9]*"), key=lambda path: (len(path.name), path.name))


def _unused(name: str, taken: dict[str, float]) -> str:
    number = 2
    while (numbered := name if number == 2 else f"{name} {number - 1}") in taken:
        number += 1
    return numbered
