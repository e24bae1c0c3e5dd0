"""The power mode, by what the board calls so."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecell.telemetry.kernel import text_of


@dataclass(frozen=True, slots=True)
class Nvpmodel:
    """A Jetson's power mode as nvpmodel has written it down. names: number -> name, of all that there are."""

    number: str
    names: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.names.get(self.number, "without a name")


def nvpmodel(root: Path) -> Nvpmodel | None:
    """None where none is written down. root: /."""
    current = re.search(r"pmode:(\d+)", text_of(root / "var/lib/nvpmodel/status"))
    if current is None:
        return None
    text = text_of(root / "etc/nvpmodel.conf")
    names = dict(re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text, re.MULTILINE))
    return Nvpmodel(str(int(current[1])), names)


def power_mode(root: Path) -> str:
    """In words: a Jetson's by name and number; else a PC's profile and the governor of its processor's frequency. "" if nothing
    tells. root: /."""
    mode = nvpmodel(root)
    if mode is not None:
        return f"{mode.name} ({mode.number})"
    profile = text_of(root / "sys/firmware/acpi/platform_profile")
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_governor"))
    governors = sorted({text for text in map(text_of, policies) if text})
    told = [f"profile {profile}"] if profile else []
    return ", ".join([*told, *(f"governor {each}" for each in governors)])
