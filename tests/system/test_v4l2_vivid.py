"""The v4l2 source on a camera of the kernel: QEMU boots a kernel with vivid, and pytest runs vivid_camera.py in there.

What it needs is told in virtual_machine.py. No hardware and no KVM; one to three minutes.
"""

import subprocess
import sys
from pathlib import Path

import virtual_machine

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 600
VIVID = "n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 num_outputs=0"
"""One node that takes pictures, with a web camera's sizes."""


@virtual_machine.needed
def test_the_source_on_a_virtual_camera(tmp_path: Path) -> None:
    job = [
        "env",
        f"--chdir={REPOSITORY}",
        "HOME=/tmp",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--color=no",
        "-p",
        "no:cacheprovider",
    ]
    line = virtual_machine.command_line(
        tmp_path, modules={"vivid": VIVID}, job=[*job, "tests/system/vivid_camera.py"], memory_mb=1536
    )
    ended = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    assert "ended with 0" in ended.stdout, ended.stdout[-8000:] + ended.stderr
