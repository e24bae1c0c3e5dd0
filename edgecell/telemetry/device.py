"""All of it in one look."""

import shutil
from pathlib import Path

from edgecell import clock
from edgecell.telemetry import jetson_stats, throttling
from edgecell.telemetry.kernel import text_of
from edgecell.telemetry.power import power_mode
from edgecell.telemetry.temperatures import temperatures_c
from edgecell.wire import Device

MIB = 1 << 20
ASK_AGAIN_S = 300.0
"""How long an answer of jetson-stats is used: asking takes a second of a core, and a power mode is changed by hand."""


class Telemetry:
    """Looks at the machine whenever it is asked to. folder: on the disk whose room is told. root: where /sys and /proc are."""

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder, self._root = folder, root
        self._throttling = throttling.Throttling()
        self._asked_mode, self._ask_ns = "", 0

    def look(self) -> Device:
        """May take a while, where a sensor is slow to answer. Raises OSError where one goes away meanwhile."""
        self._throttling = throttling.look(self._root / "sys", self._throttling.counts)
        free, total = self._disk()
        return Device(
            temperatures_c=temperatures_c(self._root / "sys"),
            throttled=self._throttling.now if self._throttling.known else None,
            throttled_earlier=self._throttling.earlier,
            power_mode=power_mode(self._root) if self._tells_its_mode() else self._told_mode(),
            disk_free_mib=free,
            disk_mib=total,
            memory_free_mib=self._memory(),
        )

    def _tells_its_mode(self) -> bool:
        """Whether the files here do; on a Jetson the governor is not what is called its power mode."""
        jetson = (self._root / jetson_stats.SOCKET).exists()
        return not jetson or (self._root / "var/lib/nvpmodel/status").exists()

    def _told_mode(self) -> str:
        now = clock.monotonic_ns()
        if now >= self._ask_ns:
            self._asked_mode = jetson_stats.power_mode(self._root)
            self._ask_ns = now + round(ASK_AGAIN_S * 1e9)
        return self._asked_mode

    def _disk(self) -> tuple[int | None, int | None]:
        """MiB that are free and all that there are; of the nearest folder above that exists, before the first is made."""
        folder = self._folder.absolute()
        try:
            usage = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists()))
        except OSError:
            return None, None
        return usage.free // MIB, usage.total // MIB

    def _memory(self) -> int | None:
        words = text_of(self._root / "proc/meminfo").partition("MemAvailable:")[2].split()
        return int(words[0]) // 1024 if words and words[0].isdecimal() else None
