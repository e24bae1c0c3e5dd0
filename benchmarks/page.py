"""The page of tables that one run of all benchmarks gives."""

from collections.abc import Iterator, Sequence

import msgspec

from benchmarks import engines, naive, peers, resolution, stages, start, throughput
from benchmarks.end_to_end import Figures
from benchmarks.measured import Results, goals, kernels_and_path
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE

FROM, TO = "<!-- made by python -m benchmarks -->", "<!-- end of what was made -->"
"""Marks in the README."""
FACTS = ("system", "processor", "cores", "memory", "Python", "numpy", "opencv-python-headless", "onnxruntime", "openvino")


def as_text(found: Results) -> str:
    """Markdown."""
    facts = "; ".join(f"{name} {found.machine[name]}" for name in FACTS if name in found.machine)
    lines = ["# Benchmarks: what was measured", "", f"{found.utc}, {found.seconds / 60:.1f} minutes; {facts}."]
    lines += _quick(found)
    lines += ["", f"Where nothing else is said, the frames are: {found.where}. {NOTICE}", ""]
    for title, text in _chapters(found):
        lines += [f"## {title}", "", text, ""]
    return "\n".join(lines)


def in_readme(text: str, found: Results) -> str:
    """The README with the lines between its two marks made anew. Raises SettingsError where it has none."""
    before, begun, rest = text.partition(f"{FROM}\n")
    _, ended, behind = rest.partition(f"{TO}\n")
    if not begun or not ended:
        raise SettingsError("the README has no lines for the figures", fix=f"write {FROM} and {TO} around them")
    return "".join((before, begun, "\n".join((*_wanted(found), *_quick(found))), "\n", ended, behind))


def _chapters(found: Results) -> Iterator[tuple[str, str]]:
    yield "What was wanted", "\n".join(_wanted(found))
    yield "Frames a second on two cores", throughput.as_text(found.throughput)
    yield "Peers, frame by frame", peers.as_text(found.peers)
    yield "The naive pipeline, frame by frame, one thread each", naive.as_text(msgspec.structs.asdict(found.naive))
    yield "Stages, one thread", stages.as_text(found.stages) + "\n" + _kernels(found)
    yield "Whole runs", "\n".join(_runs(found.runs))
    for each in found.engines:
        yield f"INT8 beside FP32: {each['bundle']}", engines.as_text(each)
    if found.resolution is not None:
        yield "Working resolution of the segmenter", resolution.as_text(found.resolution)
    yield "Start", start.as_text(found.start)
    yield "Memory and growth", "\n".join(_growth(found))


def _quick(found: Results) -> Iterator[str]:
    if found.quick:
        yield ""
        yield "**Few frames, to see that it works: these figures say nothing.**"


def _wanted(found: Results) -> Iterator[str]:
    yield "| | wanted | found | met |"
    yield "|---|---|---|---|"
    for goal in goals(found):
        wanted = f"{'<=' if goal.most else '>='} {goal.wanted:g}"
        yield f"| {goal.what} | {wanted} | {goal.found:.2f} | {'yes' if goal.met else 'no'} |"


def _kernels(found: Results) -> str:
    kernels, path = kernels_and_path(found.stages)
    of = f"{path / kernels:.2f} times as much"
    return f"The two networks take {kernels:.2f} fixed works, the frame path without `correct` {path:.2f}: {of}."


def _runs(lines: Sequence[Figures]) -> Iterator[str]:
    yield "| frames | size | cores | cells, nucleated a frame | frames/s (least, most) | fixed works a frame | RSS MiB |"
    yield "|---|---|---|---|---|---|---|"
    for each in lines:
        run = each.run
        yield (
            f"| {run.source} | {run.size_px[0]}x{run.size_px[1]} | {run.cores} | {each.cells:.0f}, {each.nucleated:.0f} | "
            f"{each.fps:.1f} ({each.fps_least:.1f}, {each.fps_most:.1f}) | {each.work:.2f} | {each.rss_mib:.0f} |"
        )
    yield ""
    yield "Frames that are laid out have many red cells for few nucleated ones: each is 384 x 240 um, the least that holds 200."


def _growth(found: Results) -> Iterator[str]:
    soaked, held = found.soak, [tenth.rss_mib - found.held_mib for tenth in found.soak.tenths]
    yield (
        f"{soaked.frames} frames of a whole run with journal and bus: {held[0]:.0f} MiB at most in the first tenth, "
        f"{held[-1]:.0f} in the last, without {found.held_mib:.0f} MiB of frames that are kept to be shown again."
    )
    for each in found.growth:
        yield (
            f"{each.what}: {each.us[0]:.1f} us a frame in the first tenth of {each.frames} frames, {each.us[1]:.1f} in the "
            f"last ({each.ratio:.2f}); RSS {each.rss_mib[0]:.0f} and {each.rss_mib[1]:.0f} MiB."
        )
