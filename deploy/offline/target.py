"""The machine that a pack is for: processor, Python and C library, named and not looked for on this one."""

from collections.abc import Iterator
from dataclasses import dataclass

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
"""Minor version of the glibc 2 that the first manylinux wheels of a machine were built for (PEP 600)."""
LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""Names of manylinux tags before PEP 600, which wheels still bear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """machine: as `uname -m` says it. python: "3.11". glibc: minor version of its glibc 2; of Debian 11 31, of JetPack 6 35."""

    machine: str
    python: str
    glibc: int = 31

    def __str__(self) -> str:
        return f"{self.machine}, Python {self.python}, glibc 2.{self.glibc}"

    @property
    def markers(self) -> dict[str, str]:
        """What CPython there answers to environment markers. pip would answer for the Python that runs it."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
            "platform_machine": self.machine,
            "platform_system": "Linux",
            "platform_release": "",
            "platform_version": "",
            "sys_platform": "linux",
            "os_name": "posix",
        }

    @property
    def pip_options(self) -> list[str]:
        """What makes `pip download` fetch wheels for there."""
        options = ["--implementation", "cp", "--python-version", self.python]
        for tag in self._platforms():
            options += ["--platform", tag]
        return options

    def _platforms(self) -> Iterator[str]:
        """Platform tags of wheels that run there, the newest C library first."""
        for minor in range(self.glibc, OLDEST_GLIBC[self.machine] - 1, -1):
            yield f"manylinux_2_{minor}_{self.machine}"
            if minor in LEGACY:
                yield f"{LEGACY[minor]}_{self.machine}"
        yield f"linux_{self.machine}"
