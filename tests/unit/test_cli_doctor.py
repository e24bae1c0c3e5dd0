"""`edgecell doctor` on this machine, and on folders laid out like the /proc, /sys and /etc of others (stand-ins)."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecell import app, bundle
from edgecell.cli import doctor
from edgecell.errors import BundleError, MissingDependency
from edgecell.messages import NOTICE

CHAPTERS = ["machine", "libraries", "parts", "bundles", "accelerators", "cameras", "clock"]

JETSON = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp\n",
    "proc/meminfo": "MemTotal:        7802736 kB\nMemAvailable:    5242880 kB\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0\nGCC version: 11\n",
    "dev/video10": "",
    "dev/video2": "",
    "sys/class/video4linux/video2/name": "vi-output, imx219 [9-0010]\n",
}


def laid_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def entries(chapters: dict[str, list[doctor.Entry]], chapter: str) -> dict[str, doctor.Entry]:
    return {entry.subject: entry for entry in chapters[chapter]}


def test_json_is_one_object_with_every_part_and_bundle() -> None:
    result = CliRunner().invoke(doctor.command, ["--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert list(said) == ["edgecell", *CHAPTERS, "notice"]
    assert said["notice"] == NOTICE
    assert {each["subject"] for each in said["parts"]} == {f"{role} {name}" for role in app.TABLES for name in app.TABLES[role]}
    assert [each["subject"] for each in said["bundles"]] == list(bundle.shipped())
    lacking = {each["subject"] for chapter in ("libraries", "parts", "bundles") for each in said[chapter] if each["lacks"]}
    assert lacking <= {"source v4l2", "engine trt"}  # a camera and a device that this machine may not have


def test_table_says_plainly_what_this_version_lacks() -> None:
    result = CliRunner().invoke(doctor.command, [], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "not part of this version: INT8 runs on ONNX Runtime" in result.stdout
    assert result.stdout.endswith(f"{NOTICE}\n")


def test_jetson_is_recognised(tmp_path: Path) -> None:
    chapters = doctor.examine(laid_out(tmp_path, JETSON))
    machine, accelerators = entries(chapters, "machine"), entries(chapters, "accelerators")
    assert machine["processor"].has == "NVIDIA Jetson Orin Nano Developer Kit (dot product)"
    assert machine["memory"].has == "7.4 GiB, 5.0 available"
    assert accelerators["Jetson"].has == "NVIDIA Jetson Orin Nano Developer Kit, R36 (release), REVISION: 4.3"
    assert accelerators["NVIDIA driver"].has == "NVIDIA UNIX Open Kernel Module for aarch64  540.4.0"
    assert not accelerators["NVIDIA driver"].lacks


def test_video_devices_are_listed_by_number_with_the_driver_s_name(tmp_path: Path) -> None:
    cameras = entries(doctor.examine(laid_out(tmp_path, JETSON)), "cameras")
    assert list(cameras)[:2] == ["/dev/video2", "/dev/video10"]
    assert cameras["/dev/video2"].has == "vi-output, imx219 [9-0010]"
    assert cameras["/dev/video10"].has == "unnamed"


def test_old_processor_is_told_what_int8_gains(tmp_path: Path) -> None:
    laid_out(tmp_path, {"proc/cpuinfo": "model name\t: Old CPU\nflags\t\t: sse2 avx2\n"})
    has = entries(doctor.examine(tmp_path), "machine")["processor"].has
    assert has.startswith("Old CPU (AVX2); no INT8 dot product")


def test_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    chapters = doctor.examine(tmp_path)
    assert entries(chapters, "machine")["memory"].has == "unknown"
    assert entries(chapters, "cameras")["video devices"].lacks
    assert "Jetson" not in entries(chapters, "accelerators")


def test_broken_library_is_told_before_anything_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # what importing it then raises is what a missing libGL raises
    result = CliRunner().invoke(doctor.command, ["--json"])
    assert isinstance(result.exception, MissingDependency)
    assert result.exception.exit_code == 3
    said = json.loads(result.stdout)
    assert said["parts"] == said["bundles"] == []
    assert [each["subject"] for each in said["libraries"] if each["lacks"]] == ["opencv-python-headless"]


def test_damaged_bundle_ends_in_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = bundle.shipped()[0]
    shutil.copytree(bundle.SHIPPED / name, tmp_path / name)
    (tmp_path / name / "CARD.md").write_text("another text")
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path)
    result = CliRunner().invoke(doctor.command, ["--json"])
    assert isinstance(result.exception, BundleError)
    assert result.exception.exit_code == 4
    (entry,) = json.loads(result.stdout)["bundles"]
    assert "sha256 differs" in entry["lacks"]


def test_part_that_does_not_load_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(app.TABLES, "source", {"webcam": "no_such_vendor.camera:Webcam"})
    webcam = entries(doctor.examine(tmp_path), "parts")["source webcam"]
    assert webcam.lacks == "does not load: No module named 'no_such_vendor'"
