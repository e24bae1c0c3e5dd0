"""Looks at the service from outside, as root of the machine that test_service.py boots: a line of JSON for what it sees."""

import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from edgecell.client import Subscriber
from edgecell.wire import CountsMessage

PATIENCE_S = 300.0


def shown(*names: str) -> dict[str, str]:
    """Properties of the unit, as systemd knows them."""
    line = ["systemctl", "show", "edgecell", f"--property={','.join(names)}"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return dict(row.split("=", 1) for row in text.splitlines())


def until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.2)
    return is_so()


def running_after(restarts: int) -> bool:
    return until(lambda: shown("NRestarts", "ActiveState") == {"NRestarts": str(restarts), "ActiveState": "active"})


def main_pid() -> int:
    return int(shown("MainPID")["MainPID"])


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
    os.kill(pid, signal.SIGKILL)
    tell("killed", again=running_after(1))
    tell("bus again", **heard())
    os.kill(main_pid(), signal.SIGSTOP)
    tell("hanging", again=running_after(2))
    begun = time.monotonic()
    subprocess.run(["systemctl", "stop", "edgecell"], check=False)
    tell("stop", seconds=time.monotonic() - begun, **shown("ActiveState", "Result"))


if __name__ == "__main__":
    main()
