"""The look at NVIDIA's driver: what it finds through libcuda, and the one line where there is nothing to find."""

import ctypes.util
import platform
from pathlib import Path

import pytest
from conftest import StandInMachine

from edgecell.engines.trt import driver
from edgecell.errors import MissingDependency

ORIN = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
CLOSED = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03  Fri Aug 16 21:39:15 UTC 2024
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain@mobile-u64-6422-d8000)
GCC version:  gcc version 11.4.0
"""


def test_a_look_tells_version_platform_and_every_device(
    stand_in_machine: StandInMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_machine.driver(version=13010, devices=2, sm=120, mib=8192)
    monkeypatch.setattr(driver, "platform_text", lambda: "somewhere")
    found = driver.look()
    assert (found.version, found.platform) == ("13.1", "somewhere")
    assert [(each.index, each.name) for each in found.devices] == [(0, "Stand-in device 0"), (1, "Stand-in device 1")]
    assert {(each.compute_capability, each.memory_bytes) for each in found.devices} == {("12.0", 8 << 30)}


@pytest.mark.parametrize(
    ("code", "said", "fix"),
    [
        (100, "no CUDA-capable device is detected", "nvidia-smi"),
        (101, "101, an error", "CUDA_VISIBLE_DEVICES"),
        (34, "CUDA driver is a stub library", "LD_LIBRARY_PATH"),
        (803, "unsupported display driver / cuda driver combination", "restart the machine"),
        (999, "an error that it has no word for", "install the driver again"),
    ],
)
def test_a_driver_that_does_not_start_is_a_missing_dependency(
    stand_in_machine: StandInMachine, code: int, said: str, fix: str
) -> None:
    stand_in_machine.driver(init=code)
    with pytest.raises(MissingDependency) as caught:
        driver.look()
    assert f"cuInit gave {code}" in caught.value.what
    assert said in caught.value.what
    assert fix in caught.value.fix
    assert "\n" not in str(caught.value)


def test_hidden_devices_are_said_to_be_hidden(stand_in_machine: StandInMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_machine.driver(devices=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(MissingDependency, match=r"shows no device \(CUDA_VISIBLE_DEVICES=\)"):
        driver.look()


def test_without_a_driver_the_fix_is_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libcuda_that_is_not_there.so.1")
    monkeypatch.setattr(driver, "TEGRA", tmp_path / "nv_tegra_release")
    with pytest.raises(MissingDependency, match="no NVIDIA driver: libcuda_that_is_not_there") as caught:
        driver.look()
    assert "--engine onnxrt" in caught.value.fix
    (tmp_path / "nv_tegra_release").write_text(ORIN)
    with pytest.raises(MissingDependency) as caught:
        driver.look()
    assert "nvidia-jetpack" in caught.value.fix


def test_a_library_that_is_no_driver_is_told_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ctypes.util.find_library("m")
    if other is None:
        pytest.skip("no libm to take for a driver")
    monkeypatch.setattr(driver, "LIBRARY", other)
    with pytest.raises(MissingDependency, match="is no NVIDIA driver: it has no cuDriverGetVersion"):
        driver.look()


def test_a_jetson_that_refuses_its_user_says_which_groups(
    stand_in_machine: StandInMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nv_tegra_release").write_text(ORIN)
    monkeypatch.setattr(driver, "TEGRA", tmp_path / "nv_tegra_release")
    stand_in_machine.driver(init=999)
    with pytest.raises(MissingDependency) as caught:
        driver.look()
    assert "video,render" in caught.value.fix


@pytest.mark.parametrize(
    ("tegra", "module", "text"),
    [
        (ORIN, OPEN, "L4T 36.4.3"),
        ("# R38 (release), REVISION: 2.0, GCID: 1\n", "", "L4T 38.2.0"),
        ("something else", "", "L4T (something else)"),
        (None, CLOSED, "aarch64 driver 560.35.03"),
        (None, OPEN, "aarch64 driver 540.4.0"),
        (None, None, "aarch64"),
    ],
)
def test_platform_is_what_a_plan_is_tied_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tegra: str | None, module: str | None, text: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for name, content in (("TEGRA", tegra), ("KERNEL_MODULE", module)):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        monkeypatch.setattr(driver, name, path)
    assert driver.platform_text() == text
