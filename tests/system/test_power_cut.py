"""Windows that were committed survive a power cut.

A machine in QEMU commits windows with edgecell's own code to a journal on a disk that is a file (ext4), and says of each over
the serial line when it is durable. At a drawn moment QEMU is killed. What the disk had been told to write down (flush) is
there afterwards; every other write is there or not, by a coin, whatever its order: so a drive loses its cache. Then the machine
boots from what is left, and goes on.

EDGECELL_POWER_CUTS: how many, 2 by default, one boot (some 20 s without KVM) each. What else it needs is told in
virtual_machine.py; beside it mkfs.ext4, e2fsck and debugfs.
"""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import virtual_machine

from edgecell.journal.reader import Reader
from edgecell.journal.replay import replay
from edgecell.journal.verify import verify

REPOSITORY = Path(__file__).parents[2]
CUTS = int(os.environ.get("EDGECELL_POWER_CUTS", "2"))
BOOT_S = 240
DISK_MB = 48
TOOLS = {name: shutil.which(name, path=os.defpath + ":/sbin:/usr/sbin") for name in ("mkfs.ext4", "e2fsck", "debugfs")}
MODULES = ("virtio_blk", "crc32c_generic", "ext4")
SECTOR = 512
MAGIC = 0x6A736677736872
"""Of a log of writes, as device-mapper's log-writes target (kernel documentation) and QEMU's blklogwrites write it."""
DISCARD = 4
SAID = re.compile(r"(found|committed) (\d+) ([0-9a-f]{64})\r?\n$")

pytestmark = [
    virtual_machine.needed,
    pytest.mark.skipif(not all(TOOLS.values()), reason="needs mkfs.ext4, e2fsck and debugfs (e2fsprogs)"),
]


class Cut(NamedTuple):
    """found: the last position that the machine found when it had booted. reported: position -> head of what it committed."""

    found: int
    reported: dict[int, str]
    unflushed: int


def make_disk(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(DISK_MB << 20)
    subprocess.run([str(TOOLS["mkfs.ext4"]), "-q", "-F", str(path)], check=True, capture_output=True)


@contextmanager
def powered(folder: Path, disk: Path, log: Path, synchronous: str) -> Iterator["subprocess.Popen[str]"]:
    """The machine with the disk; every write to it is in the log as well."""
    tests = REPOSITORY / "tests"
    job = ["env", f"PYTHONPATH={REPOSITORY}:{tests}", "OMP_NUM_THREADS=1", sys.executable, "-u"]
    job += [str(tests / "system/power_cut_writer.py"), "/dev/vda", synchronous]
    with log.open("wb") as file:
        file.truncate(1 << 30)
    line = virtual_machine.command_line(folder, modules=dict.fromkeys(MODULES, ""), job=job, memory_mb=768)
    for name, path in (("disk", disk), ("log", log)):
        line += ["-blockdev", f"driver=raw,node-name={name},file.driver=file,file.filename={path}"]
    line += ["-blockdev", f"driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size={SECTOR}"]
    line += ["-device", "virtio-blk-pci,drive=logged,write-cache=on"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def cut_power(folder: Path, disk: Path, draw: random.Random, synchronous: str) -> Cut:
    """Boot, let it commit, kill it; `disk` then holds what a real one would."""
    after, delay_s = draw.randint(1, 40), draw.uniform(0.0, 0.1)
    scratch, log = folder / "scratch.img", folder / "log.img"
    shutil.copyfile(disk, scratch)
    found, reported, said = None, dict[int, str](), list[str]()
    with powered(folder / "boot", scratch, log, synchronous) as machine:
        assert machine.stdout is not None
        for text in machine.stdout:
            said.append(text)
            line = SAID.search(text)
            if line and line[1] == "found":
                found = int(line[2])
            elif line:
                reported[int(line[2])] = line[3]
            if len(reported) == after and machine.returncode is None:
                with suppress(subprocess.TimeoutExpired):
                    machine.wait(delay_s)
                machine.kill()
                machine.wait()
    assert found is not None, "".join(said)
    assert len(reported) >= after, "".join(said)
    shutil.rmtree(folder / "boot")
    unflushed = settle(disk, log, draw)
    return Cut(found, reported, unflushed)


def settle(disk: Path, log: Path, draw: random.Random) -> int:
    """Bring into `disk` what the log says was flushed, and by a coin each later write. Returns how many of those there were."""
    with log.open("rb") as written, disk.open("r+b") as target:
        magic, version, flushed, size = struct.unpack("<QQQI", written.read(28))
        assert (magic, version, size) == (MAGIC, 1, SECTOR)
        number, place, after = 0, SECTOR, 0
        while True:
            written.seek(place)
            sector, sectors, flags, length = struct.unpack("<QQQQ", written.read(32))
            if number >= flushed and not sectors + flags + length:  # nothing was written from here on
                return after
            assert not flags & DISCARD
            written.seek(place + SECTOR)
            data = written.read(sectors * SECTOR)
            if number < flushed or draw.random() < 0.5:
                target.seek(sector * SECTOR)
                target.write(data)
            after += number >= flushed
            number, place = number + 1, place + SECTOR + sectors * SECTOR


def recovered(folder: Path, disk: Path) -> dict[int, str]:
    """Position -> head of what lies on the disk, once its file system was replayed: all of it whole, and chained."""
    image = folder / "recovered.img"
    shutil.copyfile(disk, image)
    checked = subprocess.run([str(TOOLS["e2fsck"]), "-f", "-y", str(image)], capture_output=True, text=True, check=False)
    assert checked.returncode in (0, 1), checked.stdout
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    subprocess.run([str(TOOLS["debugfs"]), "-R", f"rdump /journal {copy}", str(image)], check=True, capture_output=True)
    if not (copy / "journal/journal.sqlite").exists():
        return {}
    found = verify(copy / "journal")
    assert not found.broken
    with Reader.open(copy / "journal") as reader:
        assert not any(replay(reader, run_id).differs for run_id in reader.run_ids())
        return {row.entry.position: row.head.hex() for row in reader.rows()}


def cuts(folder: Path, synchronous: str, number: int) -> Iterator[tuple[Cut, dict[int, str], int]]:
    """Each with what lies on the disk after it, and with how many windows of all that were reported are not there."""
    draw = random.Random(f"power cut {synchronous}")
    disk = folder / "disk.img"
    make_disk(disk)
    before: dict[int, str] = {}
    for _ in range(number):
        (folder / "boot").mkdir()
        cut = cut_power(folder, disk, draw, synchronous)
        there = recovered(folder, disk)
        assert cut.found == max(before, default=0)
        lost = {**before, **cut.reported}.items() - there.items()
        before = there
        print(
            f"booted with {cut.found} events, {len(cut.reported)} committed until the cut, {cut.unflushed} writes not flushed: "
            f"{len(there)} events there, {len(lost)} lost"
        )
        yield cut, there, len(lost)


def test_what_was_committed_is_there_after_a_power_cut(tmp_path: Path) -> None:
    committed = 0
    for cut, _, lost in cuts(tmp_path, "FULL", CUTS):
        assert lost == 0
        committed += len(cut.reported)
    assert committed > CUTS


def test_without_waiting_for_the_disk_windows_are_lost(tmp_path: Path) -> None:
    """So the test above can fail."""
    assert any(lost for _, _, lost in cuts(tmp_path, "OFF", 1 + CUTS // 10))
