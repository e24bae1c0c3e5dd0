"""What is read from folders that look like a board's, and from this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from device_files import MINI_PC, ORIN_NANO, PI_5, laid_out, link_monitor

from edgecell.telemetry import jetson_stats
from edgecell.telemetry.device import Telemetry
from edgecell.wire import Device


def seen(root: Path, files: dict[str, str]) -> Device:
    return Telemetry(root, laid_out(root, files)).look()


def test_a_raspberry_pi(tmp_path: Path) -> None:
    laid_out(tmp_path, PI_5)
    link_monitor(tmp_path)
    found = seen(tmp_path, {})
    assert found.temperatures_c == {"cpu-thermal": 51.2, "rp1_adc": 47.1}
    assert (found.throttled, found.throttled_earlier) == ((), ())
    assert found.power_mode == "governor ondemand"
    assert found.memory_free_mib == 6144


def test_its_firmware_tells_what_is_and_what_was(tmp_path: Path) -> None:
    (name,) = (each for each in PI_5 if each.endswith("get_throttled"))
    found = seen(tmp_path, {**PI_5, name: "50005\n"})
    assert (found.throttled, found.throttled_earlier) == (("under-voltage", "processor throttled"), ())
    found = seen(tmp_path, {name: "80000\n"})
    assert (found.throttled, found.throttled_earlier) == ((), ("soft temperature limit",))


def test_an_orin_nano(tmp_path: Path) -> None:
    found = seen(tmp_path, ORIN_NANO)
    assert list(found.temperatures_c.items()) == [("cpu-thermal", 49.8), ("tj-thermal", 51.1)]  # its GPU is asleep
    assert (found.throttled, found.throttled_earlier) == ((), ("over-current oc3",))
    assert found.power_mode == "15W (0)"


def test_a_counter_that_grew_means_now(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path, laid_out(tmp_path, ORIN_NANO))
    telemetry.look()
    laid_out(tmp_path, {"sys/class/hwmon/hwmon4/oc3_event_cnt": "8"})
    assert telemetry.look().throttled == ("over-current oc3",)
    after = telemetry.look()
    assert (after.throttled, after.throttled_earlier) == ((), ("over-current oc3",))


@pytest.mark.parametrize(
    ("device", "said"), [("cooling_device2", "gpu-throttle-alert"), ("cooling_device3", "slowed to cool down")]
)
def test_cooling_that_slows_is_told_and_a_fan_is_not(tmp_path: Path, device: str, said: str) -> None:
    found = seen(tmp_path, {**ORIN_NANO, f"sys/class/thermal/{device}/cur_state": "1"})
    assert found.throttled == (said,)


def test_a_mini_pc(tmp_path: Path) -> None:
    found = seen(tmp_path, MINI_PC)
    assert found.temperatures_c == {"acpitz": 27.8, "acpitz 2": 29.8, "x86_pkg_temp": 61.0, "nvme Composite": 38.9}
    assert (found.throttled, found.throttled_earlier) == ((), ("processor too hot",))
    assert found.power_mode == "profile balanced, governor powersave"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = seen(tmp_path, {})
    assert (found.temperatures_c, found.throttled, found.power_mode) == ({}, None, "")
    assert found.memory_free_mib is None


def test_the_disk_is_that_of_the_folder_also_before_that_is_made(tmp_path: Path) -> None:
    found = Telemetry(tmp_path / "not" / "yet", tmp_path).look()
    assert found.disk_free_mib is not None
    assert found.disk_mib is not None
    assert 0 <= found.disk_free_mib < found.disk_mib


def test_rubbish_is_left_out(tmp_path: Path) -> None:
    rubbish = {
        "sys/class/thermal/thermal_zone0/temp": "warm",
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0",
        "sys/class/thermal/cooling_device0/cur_state": "",
        "sys/bus/platform/drivers/raspberrypi-firmware/soc/get_throttled": "xyz",
        "proc/meminfo": "MemAvailable: lots",
        "var/lib/nvpmodel/status": "pmode:",
    }
    found = seen(tmp_path, rubbish)
    assert (found.temperatures_c, found.throttled, found.power_mode, found.memory_free_mib) == ({}, None, "", None)


def test_this_machine_can_be_looked_at() -> None:
    found = Telemetry(Path()).look()
    assert found.memory_free_mib
    assert found.disk_mib
    assert all(-60 < degrees < 200 for degrees in found.temperatures_c.values())


# jetson-stats, where nvpmodel's files cannot be seen

JTOP = """
class Mode:
    name, id = "15W", 0

class jtop:
    nvpmodel = Mode()
    def __enter__(self):
        print("what a library says on stdout")
        open({asked!r}, "a").write("asked ")
        {then}
        return self
    def __exit__(self, *_):
        return True
"""
"""A stand-in: as much of jtop.jtop as is used, with its way to swallow errors when it is left."""


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with the service's socket and without nvpmodel's files; the library lies beside it."""
    laid_out(tmp_path, {"run/jtop.sock": "", "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil"})
    (tmp_path / "library").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    monkeypatch.delitem(sys.modules, "jtop", raising=False)
    return tmp_path


def jtop(root: Path, then: str = "pass") -> Path:
    asked = root / "asked"
    (root / "library/jtop.py").write_text(JTOP.format(asked=str(asked), then=then))
    return asked


def test_jetson_stats_tells_the_mode_in_a_container_and_is_not_asked_each_time(container: Path) -> None:
    asked = jtop(container)
    telemetry = Telemetry(container, container)
    assert [telemetry.look().power_mode for _ in range(3)] == ["15W (0)"] * 3
    assert asked.read_text() == "asked "


def test_nvpmodels_own_files_come_first(container: Path) -> None:
    asked = jtop(container)
    laid_out(container, {name: text for name, text in ORIN_NANO.items() if "nvpmodel" in name})
    assert Telemetry(container, container).look().power_mode == "15W (0)"
    assert not asked.exists()


@pytest.mark.parametrize("then", ["raise RuntimeError('no service')", "import os; os.abort()", "self.nvpmodel = None"])
def test_a_service_that_fails_or_crashes_leaves_the_mode_unknown(container: Path, then: str) -> None:
    asked = jtop(container, then)
    assert Telemetry(container, container).look().power_mode == ""
    assert asked.exists()


def test_one_that_never_answers_is_given_up(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson_stats, "PATIENCE_S", 1.0)
    jtop(container, "import time; time.sleep(60)")
    assert Telemetry(container, container).look().power_mode == ""


def test_without_the_library_nobody_is_asked(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: json.loads("must not be called"))
    assert Telemetry(container, container).look().power_mode == ""
