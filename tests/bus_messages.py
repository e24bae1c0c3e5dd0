"""Messages for the tests of the bus."""

from collections.abc import Callable
from typing import Any

from edgecell import stoprule
from edgecell.bundle import CellClass
from edgecell.messages import FrameFates, Tally
from edgecell.settings import StopSettings
from edgecell.tally import differential
from edgecell.wire import CountsMessage, Device, Heartbeat, Latency, Message, Model, Preview, PreviewCell, frames_of

CLASSES = {
    "neutrophil": CellClass(name="neutrophil", abbreviation="NEU", group="leukocyte", in_differential=True),
    "lymphocyte": CellClass(name="lymphocyte", abbreviation="LYM", group="leukocyte", in_differential=True),
    "erythroblast": CellClass(name="erythroblast", abbreviation="ERB", group="erythroid"),
}
TALLY = Tally(
    counts={"neutrophil": 61, "lymphocyte": 28, "erythroblast": 3, "red_blood_cell": 2210},
    unsure=7,
    excluded={"edge": 301, "duplicate": 2},
    frames=FrameFates(captured=40, processed=33, dropped=2, gated=3, failed=1, in_flight=1),
    gated_reasons={"blurred": 3},
)

DEVICE = Device(
    temperatures_c={"cpu-thermal": 51.5, "nvme Composite": 38.9},
    throttled=("under-voltage",),
    throttled_earlier=("soft temperature limit",),
    power_mode="15W (0)",
    disk_free_mib=21_400,
    disk_mib=119_000,
    memory_free_mib=3_120,
)


def counts_message(sequence: int = 0, **changes: Any) -> CountsMessage:
    fields: dict[str, Any] = {
        "device_id": "bench-3",
        "run_id": "run-a",
        "sample_id": "slide-17",
        "sequence": sequence,
        "window_start_utc": "2026-01-31T12:00:00.000Z",
        "clock_synced": False,
        "window_s": 1.0,
        "counts": {"neutrophil": 4, "lymphocyte": -1},
        "cumulative": dict(TALLY.counts),
        "unsure": TALLY.unsure,
        "excluded": dict(TALLY.excluded),
        "cells_total": TALLY.cells_total,
        "counting": "every_frame",
        "frames": frames_of(TALLY.frames),
        "gated_reasons": dict(TALLY.gated_reasons),
        "dropped_reasons": dict(TALLY.dropped_reasons),
        "latency_ms": Latency(p50=31.0, p95=40.5, p99=44.0),
        "differential": differential(TALLY, CLASSES),
        "stop": stoprule.look(StopSettings(cells=200), TALLY.counts, CLASSES),
        "pixel_um": 0.1,
        "pixel_um_source": "settings",
        "domain": "known",
        "domain_confidence": 0.96,
        "models": (Model(role="nucleated", name="pbc8", version="1.0.0", sha256="0" * 64, engine="onnxruntime cpu"),),
        "valid": True,
        "journal_position": 41,
        "chain_head": "9f" * 32,
        "chain_signature": "",
    }
    return CountsMessage(**{**fields, **changes})


def heartbeat(sequence: int = 0, **changes: Any) -> Heartbeat:
    fields: dict[str, Any] = {
        "device_id": "bench-3",
        "run_id": "run-a",
        "sequence": sequence,
        "utc": "2026-01-31T12:00:00.000Z",
        "clock_synced": True,
        "state": "running",
        "uptime_s": 12.5,
        "device": DEVICE,
        "frames": frames_of(TALLY.frames),
        "journal_position": 41,
        "chain_head": "9f" * 32,
        "chain_signature": "",
    }
    return Heartbeat(**{**fields, **changes})


def preview(sequence: int = 0, **changes: Any) -> Preview:
    cell = PreviewCell(
        kind="nucleated", label="neutrophil", confidence=0.97, decided=True, excluded=None, box_px=(400, 300, 520, 430)
    )
    fields: dict[str, Any] = {
        "device_id": "bench-3",
        "run_id": "run-a",
        "sequence": sequence,
        "frame_index": 40,
        "width_px": 1920,
        "height_px": 1200,
        "accepted": True,
        "reason": "",
        "focus": 41.5,
        "mean_level": 0.71,
        "saturated_fraction": 0.001,
        "cells": (cell,),
        "jpeg": b"\xff\xd8 a picture \xff\xd9",
    }
    return Preview(**{**fields, **changes})


MAKERS: tuple[Callable[..., Message], ...] = (counts_message, heartbeat)
