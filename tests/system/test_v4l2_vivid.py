"""The v4l2 source on a camera of the kernel: QEMU boots a kernel with vivid, and pytest runs vivid_camera.py in there.

Needs qemu-system-x86_64 and a static busybox in the PATH, and a kernel: that of this machine, or a Debian one unpacked in a
folder that EDGECELL_VIVID_KERNEL names (`apt-get download linux-image-VERSION-amd64; dpkg -x linux-image-*.deb FOLDER`). No
hardware and no KVM; the guest sees the files of this machine and cannot write to them. One to three minutes.
"""

import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QEMU, BUSYBOX = shutil.which("qemu-system-x86_64"), shutil.which("busybox")
PATIENCE_S = 600
WANTED = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "vivid")
VIVID = "n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 num_outputs=0"
"""One node that takes pictures, with a web camera's sizes."""
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
chroot /guest /bin/sh -c {job}
echo "ended with $?"
poweroff -f
"""


def the_kernel() -> tuple[Path, Path]:
    """An image, and the folder of its modules; skips without."""
    root = Path(os.environ.get("EDGECELL_VIVID_KERNEL", "/"))
    for vivid in sorted(root.glob("lib/modules/*/kernel/drivers/media/test-drivers/vivid/vivid.ko*")):
        folder = vivid.parents[5]
        image = root / f"boot/vmlinuz-{folder.name}"
        if os.access(image, os.R_OK) and vivid.suffix in (".ko", ".xz"):
            return image, folder
    pytest.skip(f"no kernel with vivid under {root}: EDGECELL_VIVID_KERNEL names a folder with boot/ and lib/modules/")


def modules(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the modules that are wanted, each after those that it needs. What is built in is no module."""
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in folder.glob("kernel/**/*.ko*")}
    found: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        if name in found or name not in files:
            return
        found.add(name)
        content = files[name].read_bytes()
        content = lzma.decompress(content) if files[name].suffix == ".xz" else content
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in needs[1].decode().replace("-", "_").split(",") if needs else ():
            yield from load(needed)
        yield name, content

    for name in WANTED:
        yield from load(name)


def make_initramfs(folder: Path, kernel_modules: Path, job: str) -> Path:
    root = folder / "root"
    for name in ("bin", "proc", "sys", "dev", "rw", "low", "guest"):
        (root / name).mkdir(parents=True)
    shutil.copy2(str(BUSYBOX), root / "bin/busybox")
    (root / "init").write_text(INIT.format(job=shlex.quote(job)))
    (root / "init").chmod(0o755)
    lines = []
    for name, content in modules(kernel_modules):
        (root / f"{name}.ko").write_bytes(content)
        lines.append(f"/{name}.ko {VIVID if name == 'vivid' else ''}\n")
    (root / "modules").write_text("".join(lines))
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        [str(BUSYBOX), "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
    )
    (folder / "initramfs").write_bytes(archive.stdout)
    return folder / "initramfs"


@pytest.mark.skipif(not QEMU or not BUSYBOX, reason="needs qemu-system-x86_64 and busybox")
def test_the_source_on_a_virtual_camera(tmp_path: Path) -> None:
    image, kernel_modules = the_kernel()
    guest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/system/vivid_camera.py"]
    initramfs = make_initramfs(tmp_path, kernel_modules, f"cd {shlex.quote(str(REPOSITORY))} && HOME=/tmp {shlex.join(guest)}")
    line = [
        str(QEMU),
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "1536",
        "-nodefaults",
        "-nographic",
        "-no-reboot",
        "-serial",
        "stdio",
    ]
    line += ["-kernel", str(image), "-initrd", str(initramfs), "-append", "console=ttyS0 quiet panic=1"]
    line += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]
    ended = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    assert "ended with 0" in ended.stdout, ended.stdout[-8000:] + ended.stderr
