"""What deploy/ has for each board: units that systemd takes, devices named as the kernel names them, settings that decode."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import called

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARDS = sorted(path.stem for path in (DEPLOY / "boards").glob("*.conf"))
SETTINGS = sorted(path.name for path in (DEPLOY / "settings").glob("*.toml"))
UNITS = ("edgecell.service", "edgecell-metrics.service", "edgecell-serve.service")
RUNS = (UNITS[0], UNITS[2])
"""Whose processes open the board's devices."""
MOST_EXPOSED = 40
"""In tenths of systemd's exposure level; test_service.py holds the service itself to half of that."""
ANALYZE, UDEVADM = shutil.which("systemd-analyze"), shutil.which("udevadm")
BOARD_ONLY = {"jetson-orin-nano.toml": "gi", "raspberry-pi-5.toml": "picamera2"}
"""Settings -> the module of its camera, which only the board's own system has."""

needs_analyze = pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")


def analyzed(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line = [str(ANALYZE), *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def installed(folder: Path, unit: str, drop_in: str = "") -> Path:
    """The unit in a folder as on a device, but with a program that is there."""
    text = (DEPLOY / unit).read_text()
    (folder / unit).write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE))
    if drop_in:
        (folder / f"{unit}.d").mkdir()
        (folder / f"{unit}.d/board.conf").write_text(drop_in)
    return folder


def devices(board: str) -> list[str]:
    return re.findall(r"^DeviceAllow=(\S+) rw$", (DEPLOY / f"boards/{board}.conf").read_text(), re.MULTILINE)


def test_every_board_has_a_drop_in_and_settings() -> None:
    assert BOARDS == ["jetson-orin-nano", "raspberry-pi-5", "x86-mini-pc"]
    assert {f"{board}.toml" for board in BOARDS} < set(SETTINGS)


@needs_analyze
@pytest.mark.parametrize("unit", RUNS)
@pytest.mark.parametrize("board", BOARDS)
def test_systemd_finds_no_fault_with_the_unit_on_this_board(board: str, unit: str, tmp_path: Path) -> None:
    installed(tmp_path, unit, (DEPLOY / f"boards/{board}.conf").read_text())
    checked = analyzed(tmp_path, "verify", f"./{unit}")
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    rated = analyzed(tmp_path, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", f"./{unit}")
    assert rated.returncode == 0, rated.stdout + rated.stderr
    for device in devices(board):  # so the drop-in was read
        assert f"{device}:rw" in rated.stdout


@needs_analyze
def test_a_fault_in_a_drop_in_would_be_found(tmp_path: Path) -> None:
    installed(tmp_path, UNITS[0], "[Service]\nDevicesAllow=char-media rw\n")
    checked = analyzed(tmp_path, "verify", f"./{UNITS[0]}")
    assert "DevicesAllow" in checked.stdout + checked.stderr


@needs_analyze
def test_systemd_finds_no_fault_with_the_metrics_service(tmp_path: Path) -> None:
    installed(tmp_path, UNITS[1])
    checked = analyzed(tmp_path, "verify", f"./{UNITS[1]}")
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    rated = analyzed(tmp_path, "security", "--offline=true", "--threshold=20", "--no-pager", f"./{UNITS[1]}")
    assert rated.returncode == 0, rated.stdout + rated.stderr


@pytest.mark.parametrize("unit", UNITS[1:])
def test_a_service_beside_the_run_calls_a_command_of_edgecell(unit: str) -> None:
    (line,) = re.findall(r"^ExecStart=\S+/edgecell (.*)$", (DEPLOY / unit).read_text(), re.MULTILINE)
    assert called(*line.split(), "--help").code == 0


def test_the_page_s_service_may_do_what_a_run_may_and_no_more() -> None:
    """Beside the three keys of its own life, and a folder that it has no use for."""
    run, page = (set(re.findall(r"^[A-Z]\w+=.*$", (DEPLOY / unit).read_text(), re.MULTILINE)) for unit in RUNS)
    own = {"Description", "After", "Type", "NotifyAccess", "ExecStart", "TimeoutStartSec", "WatchdogSec", "KillMode"}
    own |= {"RestartPreventExitStatus", "RuntimeDirectory", "RuntimeDirectoryMode"}
    assert {line.partition("=")[0] for line in run ^ page} == own
    assert "KillMode=process" in page


def test_a_jetsons_devices_are_named_as_its_drivers_name_them() -> None:
    """Regions of /proc/devices: the GPU's is called by its device, and nvmap, a miscellaneous device, has none of its own."""
    named = devices("jetson-orin-nano")
    assert {"char-*.gpu", "/dev/nvmap", "char-nvhost*", "char-host1x-fence"} <= set(named)
    assert not {"char-nvgpu*", "char-nvmap"} & set(named)


@pytest.mark.skipif(not UDEVADM, reason="needs udevadm")
def test_udev_finds_no_fault_with_the_rules() -> None:
    if "verify" not in subprocess.run([str(UDEVADM), "--help"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("needs udevadm of systemd 254 or newer")
    line = [str(UDEVADM), "verify", str(DEPLOY / "70-edgecell.rules")]
    checked = subprocess.run(line, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", SETTINGS)
def test_shipped_settings_pass_check_and_lack_only_what_the_board_has(name: str) -> None:
    ended = called("check", DEPLOY / "settings" / name, "--json")
    assert ended.code == 0, ended.err
    assert all(finding["ok"] for finding in ended.documents)
    warned = {finding["subject"]: finding["warning"] for finding in ended.documents if finding["warning"]}
    assert set(warned) <= {"source"}
    if warned:
        assert BOARD_ONLY.get(name, "/dev/video") in warned["source"]


def test_the_service_page_names_every_file() -> None:
    page = (DEPLOY / "service.md").read_text(encoding="utf-8")
    for name in (*UNITS, "70-edgecell.rules", "edgecell.sysusers", "deploy/boards/", "deploy/settings/"):
        assert name in page
    for board in BOARDS:
        assert board in page
