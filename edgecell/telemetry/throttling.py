"""What slows the device down, by what its board tells.

- A Raspberry Pi's firmware says so in one number (`vcgencmd get_throttled`): bits 0 to 3 for now, 16 to 19 for some time since
  it was switched on. The kernel shows it at `get_throttled` of the firmware's driver.
- A Jetson has cooling devices that are alerts (`cpu-throttle-alert`), and counters of over-current events
  (`oc1_event_cnt` of the monitor `soctherm_oc`).
- Intel's processors count how often they were too hot (`thermal_throttle/*_throttle_count`).
- Everywhere the kernel itself may slow processor or GPU to cool them: a cooling device that is not at rest.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecell.telemetry.kernel import number_of, text_of

FIRMWARE = {0: "under-voltage", 1: "processor's frequency capped", 2: "processor throttled", 3: "soft temperature limit"}
"""Bit of get_throttled -> what it means (Raspberry Pi documentation, vcgencmd). 16 bits higher: since it was switched on."""
SINCE_BOOT = 16
ALERT = re.compile(r".+-throttle-alert|hot-surface-alert")
SLOWING = re.compile(r"(thermal-)?(cpufreq|devfreq)-.*|Processor")
"""Types of cooling devices that slow something down. Fans do not, and others (`TCC Offset`) are not at rest by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttling:
    """now: what slows the device down. earlier: what did at some time since it was switched on, and does not now.

    known: whether anything on this machine would tell. counts: counters as they are now, to be compared with at the next look.
    """

    known: bool = False
    now: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def look(sys: Path, before: Mapping[str, int]) -> Throttling:
    """before: counters of the look before, none at the first one. A counter that grew means now. sys: /sys."""
    signs = [*_firmware(sys), *_cooling(sys)]
    counts = _counts(sys)
    signs += [(name, count > before.get(name, count), count > 0) for name, count in counts.items()]
    now = tuple(dict.fromkeys(name for name, is_now, _ in signs if is_now))
    earlier = tuple(dict.fromkeys(name for name, _, ever in signs if ever and name not in now))
    return Throttling(known=bool(signs), now=now, earlier=earlier, counts=counts)


def _firmware(sys: Path) -> Iterator[tuple[str, bool, bool]]:
    """A Raspberry Pi's. Where the device tree puts its firmware differs by model, its driver's name does not."""
    for file in sys.glob("bus/platform/drivers/raspberrypi-firmware/*/get_throttled"):
        bits = number_of(file, base=16)
        if bits is not None:
            for bit, name in FIRMWARE.items():
                yield name, bool(bits >> bit & 1), bool(bits >> (bit + SINCE_BOOT) & 1)


def _cooling(sys: Path) -> Iterator[tuple[str, bool, bool]]:
    for device in sorted(sys.glob("class/thermal/cooling_device*")):
        kind, state = text_of(device / "type"), number_of(device / "cur_state")
        if state is None:
            continue
        if ALERT.fullmatch(kind):
            yield kind, state > 0, False
        elif SLOWING.fullmatch(kind):
            yield "slowed to cool down", state > 0, False


def _counts(sys: Path) -> dict[str, int]:
    """Name -> how often since it was switched on. A processor's cores share one package, and its count."""
    cores = sys.glob("devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    hot = [count for count in map(number_of, cores) if count is not None]
    found = {"processor too hot": max(hot)} if hot else {}
    for monitor in sys.glob("class/hwmon/hwmon[0-9]*"):
        if text_of(monitor / "name") != "soctherm_oc":
            continue
        for file in sorted(monitor.glob("oc*_event_cnt")):
            count = number_of(file)
            if count is not None:
                found[f"over-current {file.name.partition('_')[0]}"] = count
    return found
