"""What the processor is called, and which of its instructions speed INT8 up."""

from dataclasses import dataclass
from pathlib import Path

FLAGS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX512-VNNI",
    "asimddp": "dot product",
    "i8mm": "INT8 matrix product",
}
"""Names in /proc/cpuinfo of what speeds INT8 up: x86, then ARM."""
INT8_FLAGS = frozenset({"avx_vnni", "avx512_vnni", "asimddp", "i8mm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """name: as the system calls it, "unknown processor" where it does not. int8: keys of FLAGS that it has, in their order."""

    name: str
    int8: tuple[str, ...]

    def __str__(self) -> str:
        known = ", ".join(FLAGS[each] for each in self.int8) or "none of the INT8 instructions looked for"
        return f"{self.name} ({known})"


def look(root: Path = Path("/")) -> Processor:
    """root: where /proc is looked for."""
    fields = dict(_field(line) for line in _read(root / "proc/cpuinfo").splitlines())
    present = set(fields.get("flags", fields.get("Features", "")).split())
    name = fields.get("model name") or _read(root / "proc/device-tree/model") or "unknown processor"
    return Processor(name=name, int8=tuple(each for each in FLAGS if each in present))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _read(path: Path) -> str:
    """Without the NUL that ends device-tree strings; "" where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
