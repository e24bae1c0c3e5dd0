"""Commits windows to a journal on a disk, and says of each when it is durable, until test_power_cut.py cuts the power.

    python power_cut_writer.py DEVICE SYNCHRONOUS

SYNCHRONOUS: FULL, as the journal itself sets it, or OFF, which promises nothing: the test of the test.
"""

import subprocess
import sys
from pathlib import Path

from journal_windows import started, window

from edgecell.journal.journal import Journal
from edgecell.journal.reader import State

DISK = Path("/mnt")


def main(device: str, synchronous: str) -> None:
    subprocess.run(["mount", "-t", "ext4", device, str(DISK)], check=True)
    with Journal.open(DISK / "journal") as journal:
        if synchronous == "OFF":
            journal._connection.execute("PRAGMA synchronous = OFF")
        position, head = journal.reader.last()
        say(f"found {position} {head.hex()}")
        if not position:
            journal.append(started())
        sequence = journal.reader.run("run-a").windows
        while True:
            receipt = journal.append(window(sequence), state=State(body=b"state %d" % sequence))
            say(f"committed {receipt.position} {receipt.head.hex()}")
            sequence += 1


def say(text: str) -> None:
    """Over the serial line, whose buffer is not the disk's."""
    print(text, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
