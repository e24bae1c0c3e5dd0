"""What `edgecell doctor` tells of how the machine is: how warm, and what slows it down."""

from collections.abc import Iterator
from pathlib import Path

from edgecell.cli.entry import Entry
from edgecell.telemetry import throttling
from edgecell.telemetry.temperatures import temperatures_c

FIX = "cool it, or give it a stronger power supply; counts stay right, but live frames may be dropped"


def entries(root: Path) -> Iterator[Entry]:
    """root: where /sys is. Nothing of what the machine does not tell."""
    warm = temperatures_c(root / "sys")
    if warm:
        yield Entry(subject="temperature", has=", ".join(f"{name} {degrees:.0f} °C" for name, degrees in warm.items()))
    slowed = throttling.look(root / "sys", {})
    if not slowed.known:
        return
    earlier = f"earlier, since it was switched on: {', '.join(slowed.earlier)}" if slowed.earlier else ""
    now = f"{', '.join(slowed.now)}: {FIX}" if slowed.now else ""
    yield Entry(subject="slowed down", has=earlier or ("" if now else "by nothing"), lacks=now)
