"""What the camera sees, on the bus: the newest frame, shrunk; nobody waits for it, and who did not ask does not hear it."""

import asyncio
import threading
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from bus_messages import counts_message, preview
from numpy.typing import NDArray

from edgecell import clock, wire
from edgecell.client import AsyncPreviews, Subscriber
from edgecell.errors import PublishError, SettingsError
from edgecell.ledger import Identity
from edgecell.messages import Cell, Classification, FrameReport, Verdict
from edgecell.publishers.zmq import ZmqOptions, ZmqPublisher
from edgecell.runtime import preview as module
from edgecell.runtime.preview import LONGEST_PX, MOST_BYTES, MOST_CELLS, Previews, made

IDENTITY = Identity(device_id="bench-3", run_id="run-a", sample_id="slide-17")
PATIENCE_S = 60.0


def report(cells: int = 2, *, accepted: bool = True) -> FrameReport:
    found = tuple(
        Cell(
            frame_index=7,
            cell_index=each,
            kind="nucleated",
            box_px=(each, 1, each + 9, 12),
            centre_px=(4.0, 6.0),
            excluded="edge" if each == 1 else None,
        )
        for each in range(cells)
    )
    answers = tuple(
        Classification(cell_index=each.cell_index, label="neutrophil", confidence=0.98765, decided=True)
        for each in found
        if each.excluded is None
    )
    return FrameReport(
        frame_index=7,
        captured_ns=0,
        label="patient-17.png",
        verdict=Verdict(
            accepted=accepted, reason="" if accepted else "blurred", focus=9.5, mean_level=0.7, saturated_fraction=0.01
        ),
        cells=found,
        classifications=answers,
        pixel_um=0.1,
        pixel_um_source="settings",
        stage_us={},
    )


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """A field without noise: left dark, right bright, in red."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :, 0] = 250
    return image


def test_a_preview_tells_what_is_seen() -> None:
    told = made(report(), picture(240, 320), IDENTITY, 3)
    assert (told.device_id, told.run_id, told.sequence, told.frame_index) == ("bench-3", "run-a", 3, 7)
    assert (told.accepted, told.reason, told.focus, told.mean_level) == (True, "", 9.5, 0.7)
    first, second = told.cells
    assert (first.label, first.confidence, first.decided, first.excluded, first.box_px) == (
        "neutrophil",
        0.988,
        True,
        None,
        (0, 1, 9, 12),
    )
    assert (second.label, second.confidence, second.decided, second.excluded) == ("", None, False, "edge")
    assert not made(report(accepted=False), picture(240, 320), IDENTITY, 0).accepted


def test_neither_the_sample_nor_the_file_is_named() -> None:
    payload = wire.to_wire(made(report(), picture(240, 320), IDENTITY, 0))[1]
    assert b"slide-17" not in payload
    assert b"patient" not in payload


@pytest.mark.parametrize(("height", "width"), [(240, 320), (1200, 1920), (1080, 1920), (2160, 3840), (3000, 100), (1024, 1024)])
def test_the_picture_is_the_frame_made_small(height: int, width: int) -> None:
    told = made(report(), picture(height, width), IDENTITY, 0)
    image = cv2.imdecode(np.frombuffer(told.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert (told.height_px, told.width_px) == (height, width)
    assert max(image.shape[:2]) <= LONGEST_PX
    assert max(image.shape[:2]) > LONGEST_PX / 2 or max(height, width) <= LONGEST_PX
    assert abs(image.shape[0] / image.shape[1] - height / width) < 0.1 * height / width
    left, right = image[:, : image.shape[1] // 4], image[:, -image.shape[1] // 4 :]
    assert left.max() < 30
    assert right[:, :, 2].min() > 220  # red, and not blue
    assert right[:, :, 0].max() < 30


def test_the_worst_frame_fits_into_a_message() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    told = made(report(10_000), noise, IDENTITY, 0)
    assert len(told.cells) == MOST_CELLS
    assert len(told.jpeg) <= MOST_BYTES
    topic, payload = wire.to_wire(told)
    assert (topic, len(payload) <= wire.MAX_BYTES) == ("preview/1", True)
    assert wire.preview_from_wire(payload) == told


def test_a_preview_comes_back_as_it_went_and_is_no_other_message() -> None:
    payload = wire.to_wire(preview())[1]
    assert wire.preview_from_wire(payload) == preview()
    with pytest.raises(PublishError):
        wire.from_wire(payload)
    for bad in (b"", b"{}", wire.to_wire(counts_message())[1], payload.replace(b'"jpeg":"', b'"jpeg":"?')):
        with pytest.raises(PublishError):
            wire.preview_from_wire(bad)


# On the frame path


def test_who_is_busy_is_passed_over_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, go_on, seen = threading.Event(), threading.Event(), []

    def slow(told: FrameReport, image: NDArray[np.uint8], identity: Identity, sequence: int) -> wire.Preview:
        seen.append(sequence)
        taken.set()
        assert go_on.wait(PATIENCE_S)
        return made(told, image, identity, sequence)

    monkeypatch.setattr(module, "made", slow)
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    with Previews(IDENTITY, on=True) as previews:
        previews.saw(report(), picture(240, 320))
        assert taken.wait(PATIENCE_S)
        for _ in range(1000):  # would hang here
            previews.saw(report(), picture(240, 320))
        assert previews.latest() is None
        go_on.set()
        told = latest(previews)
        assert (told.sequence, seen) == (0, [0])
        assert previews.latest() is None
        previews.saw(report(), picture(240, 320))
        assert latest(previews).sequence == 1


def test_so_many_a_second_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    with Previews(IDENTITY, on=True) as previews:
        for tenth, due in [(1, True), (2, False), (5, False), (6, True), (8, False), (11, True)]:
            now[0] = tenth * 100_000_000
            previews.saw(report(), picture(240, 320))
            assert (previews._wanted is not None or previews._made is not None) == due
            if due:
                latest(previews)


def test_off_there_is_no_thread() -> None:
    before = threading.active_count()
    with Previews(IDENTITY, on=False) as previews:
        previews.saw(report(), picture(240, 320))
        assert threading.active_count() == before
        assert previews.latest() is None


def latest(previews: Previews) -> wire.Preview:
    waited = threading.Event()
    for _ in range(round(PATIENCE_S / 0.01)):
        if (told := previews.latest()) is not None:
            return told
        waited.wait(0.01)
    raise AssertionError("no preview was made")


# On the bus


def test_previews_stay_on_this_machine(tmp_path: Path) -> None:
    outside = ZmqOptions(endpoint="tcp://0.0.0.0:5556", server_key=tmp_path / "device.bus.key", allow=tmp_path)
    ZmqPublisher(outside)
    with pytest.raises(SettingsError, match="previews stay on it") as refused:
        ZmqPublisher(msgspec.structs.replace(outside, preview=True))
    assert "leave out preview = true" in refused.value.fix
    for endpoint in ("tcp://127.0.0.1:5556", "tcp://localhost:*", "tcp://[::1]:5556", f"ipc://{tmp_path}/bus"):
        ZmqPublisher(ZmqOptions(endpoint=endpoint, preview=True))


def test_who_asks_is_shown_the_newest_and_who_counts_hears_none(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/bus"

    async def seen(bus: ZmqPublisher) -> wire.Preview:
        async with AsyncPreviews(endpoint) as previews:
            for sequence in range(100_000):
                bus.publish(*wire.to_wire(preview(sequence)))
                bus.publish(*wire.to_wire(counts_message(sequence)))
                bus.serve(0)
                if (told := await previews.receive(0.01)) is not None:
                    assert previews.unreadable == 0
                    return told
        raise AssertionError("no preview came")

    with ZmqPublisher(ZmqOptions(endpoint=endpoint, preview=True)) as bus, Subscriber(endpoint) as counting:
        told = asyncio.run(asyncio.wait_for(seen(bus), PATIENCE_S))
        assert told.jpeg == preview().jpeg
        while (message := counting.receive(0.01)) is None:
            bus.serve(0)
        assert isinstance(message, wire.CountsMessage)
        assert counting.unreadable == 0


def test_what_is_no_preview_is_counted_and_passed_over(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/bus"

    async def seen(bus: ZmqPublisher) -> int:
        async with AsyncPreviews(endpoint) as previews:
            while not previews.unreadable:
                bus.publish("preview/1", msgspec.json.encode({"schema": "preview/1"}))
                bus.serve(0)
                assert await previews.receive(0.01) is None
            return previews.unreadable

    with ZmqPublisher(ZmqOptions(endpoint=endpoint, preview=True)) as bus:
        assert asyncio.run(asyncio.wait_for(seen(bus), PATIENCE_S)) >= 1
