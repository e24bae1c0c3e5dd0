"""A machine in QEMU that runs a command in the files of this one, which it cannot write to.

Needs qemu-system-x86_64 and a static busybox in the PATH, and a kernel with its modules: that of this machine, or a Debian one
unpacked in a folder that EDGECELL_VIVID_KERNEL names (`apt-get download linux-image-VERSION-amd64; dpkg -x linux-image-*.deb
FOLDER`). No hardware and no KVM.
"""

import lzma
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

QEMU, BUSYBOX = shutil.which("qemu-system-x86_64"), shutil.which("busybox")
needed = pytest.mark.skipif(not QEMU or not BUSYBOX, reason="needs qemu-system-x86_64 and busybox")
FILES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""Modules that a machine needs to see the files of this one."""
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev; mount -t tmpfs none /rw
while read -r line; do insmod $line; done < /modules
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=1048576,cache=loose host /low
mkdir -p /rw/new /rw/work /dev/shm
mount -t overlay -o lowerdir=/low,upperdir=/rw/new,workdir=/rw/work none /guest
for each in proc sys dev; do mount -o bind /$each /guest/$each; done
mount -t tmpfs none /dev/shm
ip link set lo up
"""
RUN = """chroot /guest /bin/sh -c {job}
echo "ended with $?"
poweroff -f
"""
SYSTEMD = """chroot /guest /bin/sh -c {job} || poweroff -f
exec switch_root /guest /lib/systemd/systemd --unit=look.target --log-target=console --log-level=err --show-status=no
"""


def kernel_with(*modules: str) -> tuple[Path, Path]:
    """An image, and the folder of its modules, `modules` among them; skips without."""
    root = Path(os.environ.get("EDGECELL_VIVID_KERNEL", "/"))
    for folder in sorted(root.glob("lib/modules/*")):
        image, files = root / f"boot/vmlinuz-{folder.name}", _files(folder)
        if os.access(image, os.R_OK) and all(each in files and files[each].suffix in (".ko", ".xz") for each in modules):
            return image, folder
    named = "EDGECELL_VIVID_KERNEL names a folder with boot/ and lib/modules/"
    pytest.skip(f"no kernel with {', '.join(modules)} under {root}: {named}")


def command_line(folder: Path, *, modules: Mapping[str, str], job: Sequence[str], memory_mb: int, then: str = RUN) -> list[str]:
    """Of a machine that loads `modules` (name -> its parameters), runs `job` and ends; its console is stdout.

    then: SYSTEMD hands over to this machine's systemd and its look.target after the job, instead of ending.
    The files that it boots from are made in `folder`. Skips where there is no kernel with these modules.
    """
    image, kernel_modules = kernel_with(*modules)
    init = INIT + then.format(job=shlex.quote(shlex.join(job)))
    initramfs = _initramfs(folder, kernel_modules, modules, init)
    line = [str(QEMU), "-accel", "tcg", "-cpu", "max", "-m", str(memory_mb)]
    line += ["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", str(image), "-initrd", str(initramfs)]
    line += ["-append", "console=ttyS0 quiet panic=1 no_timer_check"]
    return [*line, "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]


def _files(folder: Path) -> dict[str, Path]:
    return {path.name.partition(".")[0].replace("-", "_"): path for path in folder.glob("kernel/**/*.ko*")}


def _modules(folder: Path, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the modules that are wanted, each after those that it needs. What is built in is no module."""
    files = _files(folder)
    found: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        if name in found or name not in files:
            return
        found.add(name)
        content = files[name].read_bytes()
        content = lzma.decompress(content) if files[name].suffix == ".xz" else content
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed_one in needs[1].decode().replace("-", "_").split(",") if needs else ():
            yield from load(needed_one)
        yield name, content

    for name in wanted:
        yield from load(name)


def _initramfs(folder: Path, kernel_modules: Path, modules: Mapping[str, str], init: str) -> Path:
    root = folder / "root"
    for name in ("bin", "proc", "sys", "dev", "rw", "low", "guest"):
        (root / name).mkdir(parents=True)
    shutil.copy2(str(BUSYBOX), root / "bin/busybox")
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    lines = []
    for name, content in _modules(kernel_modules, [*FILES, *modules]):
        (root / f"{name}.ko").write_bytes(content)
        lines.append(f"/{name}.ko {modules.get(name, '')}\n")
    (root / "modules").write_text("".join(lines))
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        [str(BUSYBOX), "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
    )
    (folder / "initramfs").write_bytes(archive.stdout)
    return folder / "initramfs"
