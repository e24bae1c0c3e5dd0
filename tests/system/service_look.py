"""Looks at the service from outside, as root of the machine that test_service.py boots: a line of JSON for what it sees."""

import ctypes
import json
import os
import pwd
import signal
import struct
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgecell.client import Subscriber
from edgecell.wire import CountsMessage, Heartbeat

PATIENCE_S = 300.0
PAGE = "edgecell-serve"


def shown(*names: str, unit: str = "edgecell") -> dict[str, str]:
    """Properties of the unit, as systemd knows them."""
    line = ["systemctl", "show", unit, f"--property={','.join(names)}"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return dict(row.split("=", 1) for row in text.splitlines())


def until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.2)
    return is_so()


def running_after(restarts: int) -> bool:
    return until(lambda: shown("NRestarts", "ActiveState") == {"NRestarts": str(restarts), "ActiveState": "active"})


def main_pid(unit: str = "edgecell") -> int:
    return int(shown("MainPID", unit=unit)["MainPID"])


def process(pid: int) -> dict[str, str]:
    rows = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        name: value.strip() for name, _, value in rows if name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Groups")
    }


def places(pid: int) -> dict[str, str]:
    """Mount point -> ro or rw, as the service sees its files; the last one of a place counts."""
    rows = (line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return {row[4]: row[5].split(",")[0] for row in rows}


def open_to(pid: int, uid: int) -> list[str]:
    """Mount points that the service's user may write into."""
    there = {place: Path(f"/proc/{pid}/root{place}").stat() for place, how in places(pid).items() if how == "rw"}
    return sorted(place for place, info in there.items() if info.st_uid == uid or info.st_mode & 0o002)


def heard() -> dict[str, object]:
    """The next counts on the bus."""
    with Subscriber("tcp://127.0.0.1:5556", ["counts/1"]) as bus:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = bus.receive(1)
            if isinstance(message, CountsMessage) and message.frames.processed:
                return {"run_id": message.run_id, "sequence": message.sequence, "processed": message.frames.processed}
    return {}


def beat(synced: bool | None = None) -> Heartbeat:
    """The next heartbeat with a look at the device, and, where asked for, a clock that is set or not."""
    with Subscriber("tcp://127.0.0.1:5556", ["heartbeat/1"]) as bus:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = bus.receive(1)
            if isinstance(message, Heartbeat) and message.device and synced in (None, message.clock_synced):
                return message
    raise TimeoutError("no such heartbeat")


def set_clock() -> None:
    """Tell the kernel that the clock is synchronized, as chrony does: ADJ_STATUS and ADJ_MAXERROR of adjtimex(2)."""
    told = struct.pack("I4xqqqqi", 0x10 | 0x04, 0, 0, 0, 0, 0)
    ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(told, 512))


def metrics() -> dict[str, object]:
    """The other service: what it serves, and as whom."""
    code = subprocess.run(["systemctl", "start", "edgecell-metrics"], check=False).returncode
    found: list[str] = []

    def served() -> bool:
        try:
            with urllib.request.urlopen("http://127.0.0.1:9556/metrics", timeout=PATIENCE_S) as answer:
                found[:] = [line for line in answer.read().decode().splitlines() if line == "edgecell_up 1.0"]
        except OSError:
            return False
        return bool(found)

    until(served)
    line = ["systemctl", "show", "edgecell-metrics", "--property=MainPID"]
    pid = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip().partition("=")[2]
    line = ["journalctl", "--unit=edgecell-metrics", "--no-pager", "--output=cat"]
    said = subprocess.run(line, capture_output=True, text=True, check=False).stdout[-2000:]
    return {"code": code, "up": found, "uid": Path(f"/proc/{pid}").stat().st_uid if pid != "0" else None, "said": said}


def page() -> dict[str, object]:
    """The page's service begins a run; what becomes of that when the server is killed, and when it is stopped."""
    code = subprocess.run(["systemctl", "start", PAGE], check=False).returncode
    if code or not until(lambda: bool(page_asked("GET", "me"))):
        line = ["journalctl", f"--unit={PAGE}", "--no-pager", "--output=cat"]
        return {"code": code, "said": subprocess.run(line, capture_output=True, text=True, check=False).stdout[-2000:]}
    server = main_pid(PAGE)
    begun = page_asked("POST", "run", {"settings": "edgecell", "sample_id": "17", "operator": "Eva"})
    os.kill(server, signal.SIGKILL)
    until(lambda: shown("NRestarts", unit=PAGE)["NRestarts"] == "1" and bool(page_asked("GET", "me")))
    found = page_run()
    subprocess.run(["systemctl", "stop", PAGE], check=False)
    alive = Path(f"/proc/{found['pid']}/exe").exists()
    seen = {"uid": Path(f"/proc/{found['pid']}").stat().st_uid, **process(found["pid"])} if alive else {}
    if alive:
        os.kill(found["pid"], signal.SIGKILL)
    return {"code": code, "begun": begun, "found": found, "alive": alive, "process": seen}


def page_asked(method: str, path: str, body: object = None) -> dict[str, Any]:
    """What the page's server answers, nothing while it is not there."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:8470/api/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:  # noqa: S310
            told: dict[str, Any] = json.load(answer)
            return told
    except OSError:
        return {}


def page_run() -> dict[str, Any]:
    """What the page is told of its run first."""
    with urllib.request.urlopen("http://127.0.0.1:8470/api/live", timeout=PATIENCE_S) as events:
        event = b""
        for line in events:
            event = line.strip() if line.startswith(b"event:") else event
            if event == b"event: run" and line.startswith(b"data: "):
                told: dict[str, Any] = json.loads(line[6:])
                return told
    raise EOFError("the server left")


def restart_in_vain() -> int:
    """What `systemctl restart` says of a unit with edgecell's own keys whose program ends, each time, before it is ready."""
    unit = Path("/etc/systemd/system/edgecell.service").read_text()
    vain = [line if not line.startswith("ExecStart=") else "ExecStart=/bin/sh -c 'exit 8'" for line in unit.splitlines()]
    Path("/etc/systemd/system/vain.service").write_text("\n".join(vain))
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    return subprocess.run(["systemctl", "restart", "vain"], check=False).returncode


def tell(name: str, **seen: object) -> None:
    print("look", json.dumps({"name": name, **seen}), flush=True)


def main() -> None:
    started = subprocess.run(["systemctl", "start", "edgecell"], check=False).returncode
    pid = main_pid()
    tell("start", code=started, **shown("ActiveState", "SubState", "Result", "StatusText"))
    if started:
        print(subprocess.run(["journalctl", "-b", "--no-pager"], capture_output=True, text=True, check=False).stdout[-6000:])
        return
    tell("user", uid=pwd.getpwnam("edgecell").pw_uid)
    tell("process", uid=Path(f"/proc/{pid}").stat().st_uid, **process(pid))
    tell("places", root=places(pid)["/"], open_to_it=open_to(pid, Path(f"/proc/{pid}").stat().st_uid))
    tell("bus", **heard())
    before = beat()
    set_clock()
    after = beat(synced=True)
    tell("clock", before=before.clock_synced, after=after.clock_synced, device=msgspec.to_builtins(after.device))
    tell("board", argus=Path(f"/proc/{main_pid()}/root", "tmp/argus_socket").is_socket(), **shown("DropInPaths"))
    tell("metrics", **metrics())
    os.kill(pid, signal.SIGKILL)
    tell("killed", again=running_after(1))
    tell("bus again", **heard())
    os.kill(main_pid(), signal.SIGSTOP)
    tell("hanging", again=running_after(2))
    tell("in vain", code=restart_in_vain())
    begun = time.monotonic()
    subprocess.run(["systemctl", "stop", "edgecell"], check=False)
    stopped = {"seconds": time.monotonic() - begun, **shown("ActiveState", "Result")}
    tell("page", **page())
    tell("stop", **stopped)


if __name__ == "__main__":
    main()
