"""deploy/edgecell.service: systemd finds no fault with it, and, in a machine of its own, does with it what it says.

The machine is one of QEMU (see virtual_machine.py), whose root is this machine's, with this machine's systemd. A minute or two.
"""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest
import virtual_machine
from tiny_bundle import make_tiny_bundle

from edgecell import app, settings
from edgecell.cli.run import command

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
UNIT = DEPLOY / "edgecell.service"
SYSTEMD = Path("/lib/systemd/systemd")
PATIENCE_S = 900
ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSED = 21
"""In tenths of what systemd-analyze calls the exposure level: 0 is locked up, 96 a plain service."""

needs_analyze = pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")


def lines(key: str) -> list[str]:
    """All values of a key of the unit."""
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


@needs_analyze
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    """The program need not be installed where the tests run."""
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace(lines("ExecStart")[0].split()[0], sys.executable))
    checked = subprocess.run([str(ANALYZE), "verify", UNIT.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs_analyze
def test_the_service_is_locked_up() -> None:
    line = [str(ANALYZE), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", str(UNIT)]
    checked = subprocess.run(line, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_its_command_is_one_of_edgecell() -> None:
    program, name, file, *options = lines("ExecStart")[0].split()
    assert (Path(program).name, name, file) == ("edgecell", "run", "/etc/edgecell/edgecell.toml")
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(options) <= known


def test_its_settings_can_be_used() -> None:
    chosen = settings.load(DEPLOY / "settings/service.toml")
    assert app.plan(chosen).source.name == "v4l2"
    assert chosen.journal is not None
    assert chosen.journal.folder == Path("/var/lib/edgecell/journal")


# In a machine


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    """What service_look.py saw, by name."""
    if not SYSTEMD.exists() or not virtual_machine.QEMU or not virtual_machine.BUSYBOX:
        pytest.skip("needs systemd, qemu-system-x86_64 and busybox")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # the service does not see /tmp
        folder = Path(name)
        for each in (folder, make_tiny_bundle(folder / "bundle").path):
            each.chmod(0o755)
        job = ["sh", str(REPOSITORY / "tests/system/service_set_up.sh"), str(REPOSITORY), sys.base_prefix]
        job += [Path(sys.executable).resolve().name, sysconfig.get_paths()["purelib"], str(folder / "bundle")]
        line = virtual_machine.command_line(
            folder / "boot",
            modules={},
            job=job,
            memory_mb=1536,
            then=virtual_machine.SYSTEMD,
        )
        ended = subprocess.run(line, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    told = [json.loads(each) for each in re.findall(r"look (\{.*\})\r?$", ended.stdout, re.MULTILINE)]
    assert [each["name"] for each in told][-1:] == ["stop"], ended.stdout[-8000:]
    return {each["name"]: each for each in told}


def test_it_starts_and_says_when_it_is_ready(seen: dict[str, dict[str, Any]]) -> None:
    started = seen["start"]
    assert (started["code"], started["ActiveState"], started["SubState"]) == (0, "active", "running")
    assert started["StatusText"].startswith("running")
    assert seen["bus"]["processed"] > 0


def test_it_has_no_rights(seen: dict[str, dict[str, Any]]) -> None:
    process = seen["process"]
    assert process["uid"] == seen["user"]["uid"] != 0
    assert {int(process[each], 16) for each in ("CapEff", "CapBnd")} == {0}
    assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")


def test_it_can_write_three_folders(seen: dict[str, dict[str, Any]]) -> None:
    """Beside them only what is gone when it ends: a /tmp of its own, and memory."""
    places = seen["places"]
    assert places["root"] == "ro"
    passing = ("/tmp", "/var/tmp")  # noqa: S108
    kept = {each for each in places["open_to_it"] if each not in passing and not each.startswith("/dev/")}
    assert kept == {"/var/lib/edgecell", "/var/cache/edgecell", "/run/edgecell"}


def test_it_hears_from_the_kernel_that_the_clock_is_set(seen: dict[str, dict[str, Any]]) -> None:
    """As chrony would tell it; the service may ask, and set nothing."""
    assert (seen["clock"]["before"], seen["clock"]["after"]) == (False, True)


def test_it_tells_how_the_machine_is(seen: dict[str, dict[str, Any]]) -> None:
    device = seen["clock"]["device"]
    assert device["memory_free_mib"] > 0
    assert device["disk_mib"] > 0


def test_what_the_boards_bring_besides_is_there(seen: dict[str, dict[str, Any]]) -> None:
    """All drop-ins at once, on a machine that has none of their devices; and the socket of a Jetson's cameras."""
    board = seen["board"]
    assert all(name in board["DropInPaths"] for name in ("jetson-orin-nano", "raspberry-pi-5", "x86-mini-pc"))
    assert board["argus"]


def test_systemctl_says_where_it_does_not_come_up(seen: dict[str, dict[str, Any]]) -> None:
    """Which is what takes an upgrade back: deploy/offline/install.py --restart."""
    assert seen["in vain"]["code"] != 0


def test_prometheus_reads_it_beside_the_run(seen: dict[str, dict[str, Any]]) -> None:
    metrics = seen["metrics"]
    assert (metrics["code"], metrics["up"]) == (0, ["edgecell_up 1.0"]), metrics["said"]
    assert metrics["uid"] not in (None, 0, seen["user"]["uid"])


def test_a_run_of_the_page_goes_on_whatever_becomes_of_the_page(seen: dict[str, dict[str, Any]]) -> None:
    """Killed, its server finds the run again; stopped, it leaves it alone. The run has the rights of the service's, no more."""
    page = seen["page"]
    assert page["code"] == 0, page
    told = ("run_id", "pid", "operator", "error")
    assert [page["found"][each] for each in told] == [page["begun"][each] for each in told]
    assert page["found"]["state"] in ("starting", "running")
    assert page["alive"]
    process = page["process"]
    assert (process["uid"], process["NoNewPrivs"], process["Seccomp"]) == (seen["user"]["uid"], "1", "2")
    assert {int(process[each], 16) for each in ("CapEff", "CapBnd")} == {0}


def test_it_goes_on_with_its_run_after_it_was_killed(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["killed"]["again"]
    before, after = seen["bus"], seen["bus again"]
    assert after["run_id"] == before["run_id"]
    assert after["sequence"] > before["sequence"]


def test_it_is_started_again_when_it_hangs(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["hanging"]["again"]


def test_it_stops_when_it_is_asked(seen: dict[str, dict[str, Any]]) -> None:
    assert (seen["stop"]["ActiveState"], seen["stop"]["Result"]) == ("inactive", "success")
