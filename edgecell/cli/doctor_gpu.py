"""The chapter `accelerators` of `edgecell doctor`: driver, CUDA, TensorRT, devices, a Jetson's power, prepared plans."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgecell import bundle
from edgecell.accelerators import Accelerators
from edgecell.bundle import MANIFEST, parse_manifest
from edgecell.cli.entry import GIB, Entry, read
from edgecell.engines.trt import plans
from edgecell.engines.trt.plans import Machine, PlanRecord
from edgecell.errors import EdgecellError
from edgecell.telemetry.power import nvpmodel

UNVERIFIED = "not yet verified on a GPU: what is tested of it runs on stand-ins for NVIDIA's libraries"


def entries(root: Path, found: Accelerators) -> Iterator[Entry]:
    """root: where /proc, /sys, /etc and /var are looked for."""
    module = read(root / "proc/driver/nvidia/version").partition("\n")[0].removeprefix("NVRM version: ")
    has = module or ("answers, of unknown version" if found.cuda else "")  # /proc has nothing of it in some virtual machines
    yield Entry(subject="NVIDIA driver", has=has, lacks="" if has else "none loaded: not needed, models run on the CPU")
    yield from _jetson(root)
    if module or found.cuda:
        supported = f"{found.cuda}, as far as the driver supports it" if found.cuda else ""
        yield Entry(subject="CUDA", has=supported, lacks=found.no_driver)
    for number, each in enumerate(found.gpus):
        memory = f"{each.memory_bytes / GIB:.1f} GiB"
        yield Entry(subject=f"GPU {number}", has=f"{each.name}, compute capability {each.compute_capability}, {memory}")
    yield Entry(subject="TensorRT", has=found.engine, lacks=found.no_engine)
    yield from _plans(found.machine)
    yield Entry(subject="TensorRT path", lacks=UNVERIFIED)


def _jetson(root: Path) -> Iterator[Entry]:
    model, release = read(root / "proc/device-tree/model"), read(root / "etc/nv_tegra_release").partition(", GCID")[0]
    if not release and "jetson" not in model.lower():
        return
    yield Entry(subject="Jetson", has=", ".join(each for each in (model, release.removeprefix("# ")) if each))
    yield _power_mode(root)
    yield from _clocks(root)


def _power_mode(root: Path) -> Entry:
    """The mode that nvpmodel has written down, by its name in nvpmodel.conf, and the others that there are."""
    mode = nvpmodel(root)
    if mode is None:
        return Entry(subject="power mode", lacks="unknown: `sudo nvpmodel -q` tells it")
    others = ", ".join(f"{name} ({each})" for each, name in mode.names.items() if each != mode.number)
    more = f"; also {others}: `sudo nvpmodel -m NUMBER`" if others else ""
    return Entry(subject="power mode", has=f"{mode.name} ({mode.number}){more}")


def _clocks(root: Path) -> Iterator[Entry]:
    """Whether the GPU's clock is held at its highest, as `jetson_clocks` does. The node's name differs by generation."""
    for node in sorted(root.glob("sys/class/devfreq/*")):
        low, high = read(node / "min_freq"), read(node / "max_freq")
        if not re.search(r"gpu|gv11b|ga10b|gp10b", node.name) or not (low.isdecimal() and high.isdecimal()):
            continue
        if low == high:
            yield Entry(subject="GPU clock", has=f"held at {int(high) / 1e6:.0f} MHz")
        else:
            moves = f"moves between {int(low) / 1e6:.0f} and {int(high) / 1e6:.0f} MHz"
            yield Entry(subject="GPU clock", has=f"{moves}; `sudo jetson_clocks` holds it at the top, for even times")


def _plans(machine: Machine | None) -> Iterator[Entry]:
    """Prepared plans of the bundles that came with edgecell; nothing where there is neither TensorRT nor any plan."""
    there: dict[str, list[PlanRecord]] = {}
    for record in plans.records(plans.folder_of(None)):
        there.setdefault(record.key.onnx_sha256, []).append(record)
    if machine is None and not there:
        return
    for name in bundle.shipped():
        path = bundle.SHIPPED / name / MANIFEST
        try:
            files = parse_manifest(path.read_bytes(), where=path).files
        except (EdgecellError, OSError):
            continue  # told in the chapter on bundles
        yield _of_bundle(name, [record for sha256 in files.values() for record in there.get(sha256, [])], machine)


def _of_bundle(name: str, found: list[PlanRecord], machine: Machine | None) -> Entry:
    subject, fix = f"plans of {name}", f"edgecell prepare {name}"
    here = [each for each in found if machine is not None and _machine(each) == machine]
    told = [f"{each.key.precision}: refused, {each.refused}" if each.refused else _figures(each) for each in here]
    if told:
        return Entry(subject=subject, has="; ".join(told))
    others = len(found)
    if others:
        return Entry(subject=subject, lacks=f"{others} of another version, driver or device, none of this: {fix}")
    return Entry(subject=subject, lacks=f"none: {fix}")


def _machine(record: PlanRecord) -> Machine:
    names: Mapping[str, str] = {name: getattr(record.key, name) for name in Machine.__struct_fields__}
    return Machine(**names)


def _figures(record: PlanRecord) -> str:
    times = ", ".join(f"{ms:.2f} ms for {batch}" for batch, ms in sorted(record.p50_ms.items()))
    return f"{record.key.precision}: verified, {times}"
