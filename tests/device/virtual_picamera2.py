"""Runs the tests of the picamera2 source on picamera2 itself, in an emulated machine: no Raspberry Pi, no KVM.

    python tests/device/virtual_picamera2.py FOLDER

FOLDER comes to hold a Debian 13 (1.7 GB) with picamera2, with libcamera, of which the virtual camera is built after
libcamera_edits.py, and with a kernel that has the dma-heap that picamera2 takes its buffers from. QEMU boots that kernel, and
pytest runs there the contract of every source and picamera2_camera.py. Needs root, debootstrap, qemu-system-x86_64, busybox
(static) and, the first time, a network. Forty minutes the first time, four every other, on two busy cores. What it says is kept
in FOLDER/log.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))
import libcamera_edits  # noqa: E402
import virtual_machine  # noqa: E402

PICAMERA2 = "picamera2==0.3.38"
PATIENCE_S = 1200
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Copied, so that packages are fetched there as they are here."""
TOOLS = (
    "ca-certificates dpkg-dev g++ libevent-dev libgnutls28-dev libjpeg-dev libudev-dev libyaml-dev libyuv-dev meson "
    "ninja-build openssl pkg-config pybind11-dev python3-dev python3-jinja2 python3-ply python3-prctl python3-pybind11 "
    "python3-venv python3-yaml"
)
NOT_BUILT = ("cam", "documentation", "gstreamer", "lc-compliance", "libdw", "libunwind", "qcam", "tracing", "v4l2")
MESON = f"-Dpipelines=virtual -Dipas= -Dpycamera=enabled {' '.join(f'-D{each}=disabled' for each in NOT_BUILT)}"
CAMERA = """"/base/virtual{number}":
  supported_formats:
  - {{width: 160, height: 96, frame_rates: [1, 60]}}
  - {{width: 640, height: 480, frame_rates: [1, 60]}}
  - {{width: 1920, height: 1080, frame_rates: [1, 60]}}
  test_pattern: "bars"
  model: "virtual module {number}"
"""
PYKMS = """\"\"\"In place of the display's library, which picamera2 imports and nobody here uses.\"\"\"


class _Names(type):
    def __getattr__(cls, name):
        return name


class PixelFormat(metaclass=_Names):
    pass
"""
WARNED = "-W ignore::DeprecationWarning -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning"
"""picamera2 calls setDaemon, and leaves a pipe open for each camera that it could not open."""
SUITE = (
    f"cd /repository && exec /venv/bin/python -m pytest -p no:cacheprovider {WARNED} -rA -k picamera2 "
    "tests/contract/test_sources.py tests/device/picamera2_camera.py"
)
ENVIRONMENT = (
    "HOME=/tmp",
    "EDGECELL_TEST_PICAMERA2=real",
    "PYTHONPATH=/usr/local/lib/python3/dist-packages",
    "LIBCAMERA_LOG_LEVELS=*:WARN",
)


def main(folder: Path) -> int:
    """0 if all tests passed."""
    root = folder.resolve() / "debian"
    steps: tuple[tuple[str, Callable[[Path], None]], ...] = (
        ("debian", install),
        ("libcamera", build),
        ("picamera2", fetch),
        ("kernel", unpack_kernel),
    )
    for name, step in steps:
        done = folder / f"{name}.done"
        if not done.exists():
            print(f"{name} ...", flush=True)
            step(root)
            done.touch()
    return run(root, folder / "log")


def install(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["debootstrap", "--variant=minbase", "trixie", root], check=True)
    sources = root / "etc/apt/sources.list"
    mirror = sources.read_text(encoding="utf-8").split()[1]
    newer = f"deb-src [check-valid-until=no] {mirror} sid main"  # a mirror may stand still, and this asks for no fresh news
    sources.write_text(f"deb {mirror} trixie main\n{newer}\n", encoding="utf-8")
    within(root, f"apt-get update && apt-get install --yes --no-install-recommends {TOOLS}")
    if CERTIFICATES.exists():
        shutil.copy2(CERTIFICATES, root / CERTIFICATES.relative_to("/"))


def build(root: Path) -> None:
    """libcamera with its virtual camera, and two of them in its configuration."""
    shutil.rmtree(root / "src", ignore_errors=True)
    within(root, "mkdir /src && cd /src && apt-get source libcamera")
    (sources,) = (each for each in (root / "src").iterdir() if each.is_dir())
    libcamera_edits.edit(sources)
    within(
        root, f"cd /src/{sources.name} && meson setup build --buildtype=release {MESON} && ninja -C build install && ldconfig"
    )
    configuration = root / "usr/local/share/libcamera/pipeline/virtual/virtual.yaml"
    cameras = "".join(CAMERA.format(number=number) for number in (0, 1))
    configuration.write_text(f"%YAML 1.1\n---\n{cameras}", encoding="utf-8")


def fetch(root: Path) -> None:
    """picamera2 and what edgecell needs, in an environment of their own."""
    shutil.copy2(REPOSITORY / "requirements/base.txt", root / "src/base.txt")
    pip = "/venv/bin/python -m pip install"
    within(root, f"python3 -m venv --system-site-packages /venv && {pip} -r /src/base.txt && {pip} {PICAMERA2} pytest")
    (packages,) = (root / "venv/lib").glob("python3*/site-packages")
    (packages / "pykms.py").write_text(PYKMS, encoding="utf-8")


def unpack_kernel(root: Path) -> None:
    depends = "apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p'"
    within(root, f"cd /src && apt-get download $({depends}) && dpkg --extract linux-image-*.deb /")


def within(root: Path, command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    subprocess.run(["chroot", root, "sh", "-ec", command], check=True, env=environment)


def run(root: Path, log: Path) -> int:
    """The machine sees this one's files and writes none. picamera2 looks for its dma-heap by a name that a Raspberry Pi's
    rules for devices give it."""
    os.environ["EDGECELL_VIVID_KERNEL"] = str(root)
    mounts = "".join(f"mount -o bind /{each} {root}/{each}; " for each in ("proc", "sys", "dev"))
    mounts += (
        f"mount -t tmpfs none {root / 'dev/shm'}; mkdir -p {root}/repository; mount -o bind {REPOSITORY} {root}/repository; "
    )
    job = f"{mounts}ln -s system /dev/dma_heap/vidbuf_cached; exec env {' '.join(ENVIRONMENT)} chroot {root} sh -c '{SUITE}'"
    with tempfile.TemporaryDirectory() as made:
        line = virtual_machine.command_line(Path(made), modules={}, job=["sh", "-c", job], memory_mb=1536)
        ended = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    log.write_text(ended.stdout + ended.stderr, encoding="utf-8")
    print(ended.stdout + ended.stderr)
    return 0 if "ended with 0" in ended.stdout else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
