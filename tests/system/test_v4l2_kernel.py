"""The v4l2 source on the kernel's own drivers: QEMU boots a kernel, and pytest runs in there.

`vivid` is the kernel's virtual camera; the contract suite of sources runs on it too. `uvcvideo`, the driver for USB cameras,
gets one made of software (usb_camera.py). What it needs is told in virtual_machine.py. No hardware and no KVM; one to three
minutes each.
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


CONTRACT = ["tests/contract/test_sources.py", "-k", "v4l2 or vivid_camera"]


@virtual_machine.needed
@pytest.mark.parametrize(
    ("tests", "modules"),
    [
        (["tests/system/vivid_camera.py", *CONTRACT], {"vivid": VIVID}),
        (["tests/system/uvc_camera.py"], {"uvcvideo": "", "vhci_hcd": ""}),
    ],
    ids=["vivid", "uvcvideo"],
)
def test_the_source_on_the_kernel_s_own_driver(tests: list[str], modules: dict[str, str], tmp_path: Path) -> None:
    place = ["env", f"--chdir={REPOSITORY}", "HOME=/tmp", "EDGECELL_TEST_V4L2=/dev/video0"]
    job = [*place, sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", *tests]
    line = virtual_machine.command_line(tmp_path, modules=modules, job=job, memory_mb=1536)
    ended = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    assert "ended with 0" in ended.stdout, ended.stdout[-8000:] + ended.stderr
