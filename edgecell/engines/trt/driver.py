"""The NVIDIA driver and its devices, asked through libcuda alone: no CUDA toolkit and no binding are needed for a look.

TensorRT's `Runtime` crashes the process where there is no driver, so whatever calls TensorRT wants the `Driver` found here.
Function names, attribute numbers and error codes are those of the CUDA driver API (cuda.h).
"""

import ctypes
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edgecell.errors import MissingDependency

LIBRARY = "libcuda.so.1"
TEGRA = Path("/etc/nv_tegra_release")
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_NO_DEVICE = 100
_NAME_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU. compute_capability as in "8.7"; memory_bytes: all of it (on a Jetson it is the machine's own memory)."""

    index: int
    name: str
    compute_capability: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """version: the CUDA that it supports, as in "12.6". platform: "L4T 36.4.3" on a Jetson, else "x86_64 driver 560.35.03"."""

    version: str
    devices: tuple[Device, ...]
    platform: str


def look() -> Driver:
    """The driver and its devices, at least one. Makes no context, takes no device memory.

    Raises MissingDependency when there is no driver, no device, or the driver does not start.
    """
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise MissingDependency(f"no NVIDIA driver: {error}", fix=_install()) from error
    version = ctypes.c_int()
    _ask(cuda, "cuDriverGetVersion", ctypes.byref(version))
    _ask(cuda, "cuInit", ctypes.c_uint(0))
    count = ctypes.c_int()
    _ask(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if count.value < 1:
        raise MissingDependency(f"the NVIDIA driver shows no device{_hidden()}", fix=_fix(_NO_DEVICE))
    return Driver(
        version=f"{version.value // 1000}.{version.value % 1000 // 10}",
        devices=tuple(_device(cuda, index) for index in range(count.value)),
        platform=platform_text(),
    )


def on_jetson() -> bool:
    """Whether this is a Jetson's own system (or a container that was given its release file)."""
    return TEGRA.exists()


def platform_text() -> str:
    """What a plan is tied to beside the device: the L4T release, or the kernel module's version."""
    if on_jetson():
        text = TEGRA.read_text(encoding="utf-8", errors="replace")
        release = re.search(r"R(\d+)\D+REVISION:\s*([\d.]+)", text)
        return f"L4T {release[1]}.{release[2]}" if release else f"L4T ({' '.join(text.split())[:80]})"
    module = KERNEL_MODULE.read_text(encoding="utf-8", errors="replace") if KERNEL_MODULE.exists() else ""
    version = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", module)
    return f"{platform.machine()} driver {version[1]}" if version else platform.machine()


def _device(cuda: ctypes.CDLL, index: int) -> Device:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _ask(cuda, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
    _ask(cuda, "cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), device)
    _ask(cuda, "cuDeviceGetAttribute", ctypes.byref(major), ctypes.c_int(_MAJOR), device)
    _ask(cuda, "cuDeviceGetAttribute", ctypes.byref(minor), ctypes.c_int(_MINOR), device)
    _ask(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    capability = f"{major.value}.{minor.value}"
    text = name.value.decode("utf-8", "replace")
    return Device(index=index, name=text, compute_capability=capability, memory_bytes=memory.value)


def _ask(cuda: ctypes.CDLL, name: str, *arguments: object) -> None:
    """Call a function of the driver. Raises MissingDependency with the driver's own word for the code that it returns."""
    try:
        code = int(getattr(cuda, name)(*arguments))
    except AttributeError as error:
        raise MissingDependency(f"{LIBRARY} is no NVIDIA driver: it has no {name}", fix=_install()) from error
    if code == 0:
        return
    text = ctypes.c_char_p()
    said = getattr(cuda, "cuGetErrorString", None)
    known = said is not None and int(said(code, ctypes.byref(text))) == 0
    words = text.value.decode("utf-8", "replace") if known and text.value else "an error that it has no word for"
    raise MissingDependency(f"the NVIDIA driver failed: {name} gave {code}, {words}{_hidden()}", fix=_fix(code))


def _hidden() -> str:
    """The setting that hides devices, where somebody made it."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f" (CUDA_VISIBLE_DEVICES={value})"


def _install() -> str:
    if on_jetson():
        return "install JetPack's driver (`sudo apt install nvidia-jetpack`); in a container, start it with `--runtime nvidia`"
    return "install NVIDIA's driver, see that `nvidia-smi` works; in a container `--gpus all`; without a GPU: `--engine onnxrt`"


def _fix(code: int) -> str:
    """34 is a stub library; 35, 36, 803, 804: libcuda and the kernel's module disagree; 100, 101: no device."""
    if code in {_NO_DEVICE, 101}:
        return (
            "see that the device is there (`nvidia-smi`) and that CUDA_VISIBLE_DEVICES does not hide it; else `--engine onnxrt`"
        )
    if code == 34:
        return f"this {LIBRARY} is the toolkit's stub: take its folder out of LD_LIBRARY_PATH"
    if code in {35, 36, 803, 804}:
        return "libcuda and the kernel's driver are of different versions: restart the machine, or install the driver again"
    if on_jetson():
        return "let the user into the groups video and render (`sudo usermod -aG video,render $USER`), log in again, or restart"
    return "see what `nvidia-smi` says; restart the machine, or install the driver again"
