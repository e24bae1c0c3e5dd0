"""`edgecell doctor` on this machine, and on folders laid out like the /proc, /sys and /etc of others (stand-ins)."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from conftest import StandInMachine
from device_files import PI_5

from edgecell import accelerators, app, bundle, clock
from edgecell.accelerators import Accelerators, Gpu
from edgecell.cli import doctor
from edgecell.cli.entry import Entry
from edgecell.engines.trt import plans
from edgecell.engines.trt.plans import Machine, PlanRecord
from edgecell.errors import BundleError, MissingDependency
from edgecell.messages import NOTICE

CHAPTERS = ["machine", "libraries", "parts", "bundles", "accelerators", "engines", "cameras", "clock"]

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


def entries(chapters: dict[str, list[Entry]], chapter: str) -> dict[str, Entry]:
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
    cameras = {"source aravis", "source basler", "source gstreamer", "source picamera2", "source v4l2"}
    assert lacking <= {*cameras, "engine openvino", "engine trt"}  # what this machine may not have


def test_table_says_plainly_what_this_version_lacks() -> None:
    result = CliRunner().invoke(doctor.command, [], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "TensorRT path not yet verified on a GPU" in " ".join(result.stdout.split())
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


def test_an_orin_shows_its_device_power_mode_clock_and_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Machine(tensorrt="10.3.0", device="Orin", compute_capability="8.7", driver="12.6", platform="L4T 36.4.3")
    said = Accelerators(
        cuda="12.6",
        gpus=(Gpu(name="Orin", compute_capability="8.7", memory_bytes=7620 << 20),),
        engine="tensorrt 10.3.0, cuda-python 12.6",
        machine=here,
    )
    monkeypatch.setattr(accelerators, "look", lambda: said)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, encoding, machine, refused in (
        ("pbc8", "s8s8", here, ""),
        ("pbc8", "fp16", here, "golden cell 3 deviates"),
        ("cells3", "s8s8", msgspec.structs.replace(here, tensorrt="8.6.1"), ""),
    ):
        opened = bundle.open_bundle(name)
        key = plans.key_of(opened.file(f"{encoding}.onnx"), opened.manifest, machine)
        record = PlanRecord(
            key=key,
            bundle=name,
            encoding="s8s8",
            plan_sha256=None,
            build_s=60.0,
            p50_ms={1: 0.5, 16: 1.25},
            refused=refused,
            edgecell="1",
            utc="",
        )
        plans.store(record, b"plan", plans.folder_of(None))
    power = {
        **JETSON,
        "etc/nvpmodel.conf": "# modes\n< POWER_MODEL ID=0 NAME=15W >\nCORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
        "var/lib/nvpmodel/status": "pmode:0002\n",
        "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
        "sys/class/devfreq/17000000.emc/min_freq": "1\n",
    }
    found = entries(doctor.examine(laid_out(tmp_path, power)), "accelerators")
    assert found["CUDA"].has.startswith("12.6")
    assert found["GPU 0"].has == "Orin, compute capability 8.7, 7.4 GiB"
    assert found["TensorRT"].has == "tensorrt 10.3.0, cuda-python 12.6"
    assert found["power mode"].has == "MAXN_SUPER (2); also 15W (0): `sudo nvpmodel -m NUMBER`"
    assert found["GPU clock"].has == "moves between 306 and 1020 MHz; `sudo jetson_clocks` holds it at the top, for even times"
    assert found["plans of pbc8"].has == (
        "fp16: refused, golden cell 3 deviates; int8: verified, 0.50 ms for 1, 1.25 ms for 16"
    )
    assert found["plans of cells3"].lacks == "1 of another version, driver or device, none of this: edgecell prepare cells3"
    assert found["plans of marrow7"].lacks == "none: edgecell prepare marrow7"
    assert found["TensorRT path"].lacks.startswith("not yet verified on a GPU")
    assert {each.subject for each in found.values() if each.lacks and "plans" not in each.subject} == {"TensorRT path"}


def test_how_warm_the_machine_is_and_what_slows_it_down(tmp_path: Path) -> None:
    found = entries(doctor.examine(laid_out(tmp_path, PI_5)), "machine")
    assert found["temperature"].has == "cpu-thermal 51 °C, rp1_adc 47 °C"
    assert (found["slowed down"].has, found["slowed down"].lacks) == ("by nothing", "")
    (firmware,) = (name for name in PI_5 if name.endswith("get_throttled"))
    slowed = entries(doctor.examine(laid_out(tmp_path, {firmware: "90001"})), "machine")["slowed down"]
    assert slowed.has == "earlier, since it was switched on: soft temperature limit"
    assert slowed.lacks.startswith("under-voltage: cool it, or give it a stronger power supply")


def test_a_machine_that_tells_neither_has_no_such_entries(tmp_path: Path) -> None:
    assert not {"temperature", "slowed down"} & entries(doctor.examine(tmp_path), "machine").keys()


def test_a_clock_that_is_held_and_a_mode_that_nobody_wrote_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "look", Accelerators)
    held = {f"sys/class/devfreq/17000000.ga10b/{name}_freq": "1020000000" for name in ("min", "max")}
    found = entries(doctor.examine(laid_out(tmp_path, {**JETSON, **held})), "accelerators")
    assert found["GPU clock"].has == "held at 1020 MHz"
    assert found["power mode"].lacks == "unknown: `sudo nvpmodel -q` tells it"


def test_a_machine_with_the_stand_ins_is_seen_from_a_process_of_its_own(stand_in_machine: StandInMachine) -> None:
    stand_in_machine.driver(devices=2, sm=89, mib=8192)
    found = accelerators.look()
    # The child finds this libcuda by LD_LIBRARY_PATH, and this TensorRT by its path.
    assert found.cuda == "12.6"
    assert [(each.compute_capability, each.memory_bytes) for each in found.gpus] == [("8.9", 8192 << 20)] * 2
    assert found.machine is not None
    assert (found.machine.tensorrt, found.machine.compute_capability) == ("10.3.0", "8.9")
    stand_in_machine.driver(init=100)
    found = accelerators.look()
    assert found.machine is None
    assert "100" in found.no_driver
    assert found.no_engine


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("os.abort()", "crashed when asked (SIGABRT)"),
        ("import time; time.sleep(60)", "did not answer within 0 s"),
        ("print('hello', flush=True); os._exit(0)", "gave no answer (exit code 0)"),
        (
            "print('libnvinfer is odd', file=sys.stderr, flush=True); os._exit(1)",
            "gave no answer (exit code 1): libnvinfer is odd",
        ),
    ],
)
def test_a_library_that_crashes_or_hangs_is_an_entry(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif 'edgecell.accelerators' in sys.orig_argv:\n    {code}\n    sys.exit()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(accelerators, "PATIENCE_S", 0.4 if "sleep" in code else 60.0)
    found = entries(doctor.examine(tmp_path), "accelerators")
    assert says in found["TensorRT"].lacks


def test_a_process_that_cannot_be_killed_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is stuck in the kernel's driver."""
    stuck: list[subprocess.Popen[bytes]] = []

    class Stuck(subprocess.Popen[bytes]):
        def kill(self) -> None:
            stuck.append(self)

    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif 'edgecell.accelerators' in sys.orig_argv:\n    time.sleep(20)\n    sys.exit()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(accelerators, "PATIENCE_S", 0.3)
    monkeypatch.setattr(accelerators, "GRACE_S", 0.1)
    monkeypatch.setattr(subprocess, "Popen", Stuck)
    began_ns = clock.monotonic_ns()
    found = accelerators.look()
    taken_s = (clock.monotonic_ns() - began_ns) / 1e9
    stuck[0].send_signal(signal.SIGKILL)
    stuck[0].wait()
    assert "did not answer" in found.no_driver
    assert taken_s < 10


def test_without_room_for_a_file_doctor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    assert "No usable temporary directory" in accelerators.look().no_driver
