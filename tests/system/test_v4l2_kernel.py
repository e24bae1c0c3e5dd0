"""The v4l2 source on the kernel's own drivers: QEMU boots a kernel, and pytest runs in there.

`vivid` is the kernel's virtual camera; `uvcvideo`, its driver for USB cameras, gets one made of software (usb_camera.py). What
it needs is told in virtual_machine.py. No hardware and no KVM; two minutes each.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import virtual_machine

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 600
VIVID = "n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 num_outputs=0"
"""One node that takes pictures, with a web camera's sizes."""


@virtual_machine.needed
@pytest.mark.parametrize(
    ("tests", "modules"),
    [("vivid_camera.py", {"vivid": VIVID}), ("uvc_camera.py", {"uvcvideo": "", "vhci_hcd": ""})],
    ids=["vivid", "uvcvideo"],
)
def test_the_source_on_the_kernel_s_own_driver(tests: str, modules: dict[str, str], tmp_path: Path) -> None:
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
    line = virtual_machine.command_line(tmp_path, modules=modules, job=[*job, f"tests/system/{tests}"], memory_mb=1536)
    ended = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    assert "ended with 0" in ended.stdout, ended.stdout[-8000:] + ended.stderr
