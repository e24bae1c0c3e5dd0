"""`edgecell serve` as a process: runs begin, are seen and stopped, and outlive it; what goes wrong is said in words."""

import os
import signal
from pathlib import Path

import cv2
import numpy as np
from command_line import called
from serving import begun, gone, serving, small_settings, stopped_at_last, wait_for

from edgecell.journal.reader import Reader
from edgecell.messages import NOTICE


def test_a_run_is_begun_seen_and_stopped(tmp_path: Path) -> None:
    with serving(tmp_path, small_settings(tmp_path)) as served:
        assert served.until("run")["state"] == "idle"
        run = begun(served)
        with stopped_at_last(run["pid"]):
            assert (run["sample_id"], run["operator"], run["notice"]) == ("slide-17", "Eva", NOTICE)
            counts = served.until("counts", lambda told: told["cells_total"] > 0)
            assert (counts["run_id"], counts["device_id"], counts["sample_id"]) == (run["run_id"], "bench-3", "")
            assert served.until("heartbeat", lambda told: told["state"] == "running")["run_id"] == run["run_id"]
            seen = served.until("preview", lambda told: bool(told["cells"]))
            picture = served.client.get(seen["picture"])
            image = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert (image.shape, seen["width_px"], seen["height_px"]) == ((240, 320, 3), 320, 240)
            assert picture.headers["content-type"] == "image/jpeg"
            assert "jpeg" not in seen
            again = {"settings": "bench", "sample_id": "18", "operator": "Eva"}
            assert served.asked("POST", "/api/run", 409, again)["error"] == f"the run {run['run_id']} goes on"
            assert served.asked("DELETE", "/api/run", 202)["state"] == "stopping"
            assert served.until_run("stopped")["error"] == ""
            assert wait_for(lambda: gone(run["pid"]))
            assert served.asked("DELETE", "/api/run", 409)["error"] == "no run goes on"
        assert served.ended() == 0
    with Reader.open(tmp_path / "journal") as reader:
        kept = reader.run(run["run_id"])
    assert kept.started is not None
    assert (kept.started.sample_id, kept.started.operator) == ("slide-17", "Eva")
    assert kept.ended is not None
    assert (kept.ended.state, kept.windows > 0) == ("stopped", True)
    assert sorted(path.name for path in (tmp_path / "journal" / "serve").iterdir()) == ["lock"]  # nothing names the sample


def test_a_run_outlives_its_server_and_is_found_by_the_next(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with serving(tmp_path, settings) as first:
        run = begun(first)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with stopped_at_last(run["pid"]):
        with serving(tmp_path, settings) as second:
            found = second.until_run("running")
            assert (found["run_id"], found["pid"], found["operator"]) == (run["run_id"], run["pid"], "Eva")
            counts = second.until("counts")
            assert counts["run_id"] == run["run_id"]
            with second.live() as events:  # it leaves though somebody looks on
                next(events)
                assert second.ended() == 0
        assert not gone(run["pid"])
        with serving(tmp_path, settings) as third:
            later = third.until("counts", lambda told: told["sequence"] > counts["sequence"])
            assert later["frames"]["captured"] > counts["frames"]["captured"]
            third.asked("DELETE", "/api/run", 202)
            assert third.until_run("stopped")["error"] == ""
    with Reader.open(tmp_path / "journal") as reader:
        kept = reader.run(run["run_id"])
        assert [row.entry.sequence for row, _ in reader.windows(run["run_id"])] == list(range(kept.windows))
    assert kept.ended is not None


def test_how_a_run_ended_is_said_in_words(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with serving(tmp_path, settings) as served:
        run = begun(served)
        os.kill(run["pid"], signal.SIGKILL)
        told = served.until("run", lambda run: run["state"] == "failed")
        assert told["error"] == "the program of the run was killed (signal 9)"
        assert "in the journal" in told["fix"]
        settings.write_text(settings.read_text().replace("./tiny", "./missing"))
        served.asked("POST", "/api/run", 202, {"settings": "bench", "sample_id": "18", "operator": "Eva"})
        told = served.until("run", lambda run: run["sample_id"] == "18" and run["state"] != "starting")
        assert (told["state"], "missing" in told["error"], bool(told["fix"])) == ("failed", True, True)


def test_a_run_that_ended_while_nobody_served_is_told_of(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    with serving(tmp_path, settings) as served:
        run = begun(served, preview=False, crops=False)
        refused = called("serve", "--journal", tmp_path / "journal", "--listen", "127.0.0.1:0")
        assert refused.code == 8
        assert "another edgecell serve has the journal" in refused.err
        served.process.send_signal(signal.SIGKILL)
        served.process.wait()
    os.kill(run["pid"], signal.SIGKILL)
    assert wait_for(lambda: gone(run["pid"]))
    with serving(tmp_path, settings) as served:
        told = served.until("run")
        assert (told["state"], told["run_id"]) == ("failed", run["run_id"])
        assert told["error"] == "the program of the run ended without a word"
        begun(served)  # and another can begin
        served.asked("DELETE", "/api/run", 202)
        served.until_run("stopped")
