"""Lamp, white point, focus and dirt: what is said, when, and when no more; on the drawn slide, with changes made on purpose."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from still_run import Bench, standing
from still_run import frame as frame_of

from edgecell import dirt
from edgecell.drift import (
    DIRT,
    FIELDS,
    FOCUS,
    LAMP,
    STILL,
    WHITE,
    DriftState,
    findings,
    looked,
    reference_of,
)
from edgecell.gate import GateState, Limits, judge
from edgecell.messages import Frame
from edgecell.optics.file import Exposure, FlatField, Focus, Optics, WhiteBalance
from edgecell.resume import RunState, from_state, to_state
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options, Stage

Image = NDArray[np.uint8]
Change = Callable[[Image], Image]
SIZE_PX = (480, 300)
PIXEL_UM = 0.2


@lru_cache(maxsize=4)
def fields(stage: Stage) -> list[Image]:
    """The first ones of a slide that is looked through in that way."""
    slide = Options(seed=5, width=SIZE_PX[0], height=SIZE_PX[1], pixel_um=PIXEL_UM, stage=stage, frames=4 * FIELDS)
    images = []
    with PhantomSource(slide) as source:
        while (frame := source.read(1.0)) is not None:
            images.append(frame.image)
    return images


def field(index: int) -> Image:
    return fields("fields")[index]


def shown(images: Iterable[Image], state: DriftState | None = None) -> DriftState:
    """The state after these frames, as the gate of a run with a known scale judges each."""
    gate, state = GateState(), state or DriftState()
    for index, image in enumerate(images):
        frame = Frame(source_id="test", index=index, captured_ns=0, image=image, pixel_um=PIXEL_UM)
        verdict, gate = judge(frame, Limits(), gate)
        state = looked(image, verdict, state)
    return state


def topics(state: DriftState) -> list[str]:
    return [each.topic for each in findings(state)]


def dimmed(share: float, channels: Sequence[int] = (0, 1, 2)) -> Change:
    def change(image: Image) -> Image:
        out = image.copy()
        out[..., channels] = np.rint(image[..., channels] * share)
        return out

    return change


def blurred(image: Image) -> Image:
    return cv2.GaussianBlur(image, (0, 0), 0.35 / PIXEL_UM).astype(np.uint8, copy=False)


def dirty(image: Image, depth: float = 0.3, radius_px: int = 14) -> Image:
    disc = np.zeros(image.shape[:2], np.float32)
    cv2.circle(disc, (120, 200), radius_px, 1.0, -1)
    shade = np.asarray(cv2.GaussianBlur(disc, (0, 0), 3.0))
    return np.rint(image * (1 - depth * shade[..., None])).astype(np.uint8)


FIRST = range(FIELDS)
LATER = range(FIELDS, 2 * FIELDS)


@lru_cache(maxsize=1)
def learnt() -> DriftState:
    """After the fields that make the reference."""
    return shown(field(index) for index in FIRST)


@pytest.mark.parametrize("stage", get_args(Stage))
def test_a_slide_that_is_looked_through_raises_no_alarm(stage: Stage) -> None:
    state = DriftState()
    for image in fields(stage):
        state = shown([image], state)
        assert topics(state) == []
    assert state.reference is not None


@pytest.mark.parametrize(
    ("change", "topic", "words"),
    [
        (dimmed(0.8), LAMP, "lamp: the background is 20 % less than in the run's first fields"),
        (dimmed(0.9, [2]), WHITE, "white point: beside green the background's blue 10 % less than in the run's first fields"),
        (blurred, FOCUS, "focus: cell borders are 2."),
    ],
)
def test_what_changes_is_said_and_when_it_is_mended_no_more(change: Change, topic: str, words: str) -> None:
    said = []
    state = learnt()
    for index in LATER:
        state = shown([change(field(index))], state)
        said.append(topic in topics(state))
    assert topics(state) == [topic]
    [found] = findings(state)
    assert found.text.startswith(words), found.text
    assert said.index(True) <= FIELDS // 2, "half of the latest fields say it"
    state = shown((field(index) for index in FIRST), state)
    assert topics(state) == []


def test_small_changes_are_none() -> None:
    def little(image: Image) -> Image:
        return dimmed(0.98, [2])(dimmed(0.95)(image))

    assert topics(shown((little(field(index)) for index in LATER), learnt())) == []


def test_dirt_stays_in_place_while_the_slide_moves() -> None:
    state = shown(dirty(field(index)) for index in range(2 * dirt.FIELDS))
    [found] = findings(state)
    assert found.topic == DIRT
    assert found.text.startswith("dirt: a spot stayed in place while the slide moved, on ")
    assert "25 % from the left, 67 % from the top" in found.text
    wiped = shown((field(index) for index in range(2 * dirt.FIELDS)), state)
    assert topics(wiped) == []


def test_counts_are_doubtful_where_the_change_may_change_them() -> None:
    """A lamp of a quarter of its light does not; background that is clipped, a strange colour, or much dirt does."""
    dim = findings(shown((dimmed(0.4)(field(index)) for index in LATER), learnt()))
    assert [(each.topic, each.doubtful) for each in dim] == [(LAMP, False)]
    lit = DriftState(reference=reference_of(optics(white=WhiteBalance(level=(150, 150, 150)))), given=True)
    bright = findings(shown((field(index) for index in FIRST), lit))
    assert (LAMP, True) in [(each.topic, each.doubtful) for each in bright]
    for share, doubtful in ((0.75, False), (0.6, True)):
        [blue] = findings(shown((dimmed(share, [2])(field(index)) for index in LATER), learnt()))
        assert (blue.topic, blue.doubtful) == (WHITE, doubtful)
    for radius_px, doubtful in ((14, False), (40, True)):
        [found] = findings(shown(dirty(field(index), radius_px=radius_px) for index in range(2 * dirt.FIELDS)))
        assert (found.topic, found.doubtful) == (DIRT, doubtful), found.text


def test_a_cell_that_is_always_in_the_middle_is_no_dirt() -> None:
    """Slides that somebody looks through for white cells: each is centred, and no two are the same."""
    draw = np.random.default_rng(3)

    def centred(image: Image) -> Image:
        shade = np.zeros(image.shape[:2], np.float32)
        x, y = (length // 2 + int(draw.integers(-6, 7)) for length in SIZE_PX)
        axes = (int(draw.integers(14, 22)), int(draw.integers(14, 22)))
        cv2.ellipse(shade, (x, y), axes, float(draw.integers(0, 180)), 0, 360, 1.0, -1)
        blots = cv2.resize(draw.uniform(0.2, 0.7, (12, 12)).astype(np.float32), SIZE_PX, interpolation=cv2.INTER_LINEAR)
        return np.rint(image * (1 - shade * blots)[..., None]).astype(np.uint8)

    assert topics(shown(centred(field(index)) for index in range(2 * dirt.FIELDS))) == []


def test_a_slide_that_rests_is_no_reference_and_its_cells_no_dirt() -> None:
    state = shown([field(0)] * 3 * STILL * dirt.FIELDS)
    assert state.reference is None
    assert (state.fields, topics(state)) == (1, [])


def test_the_lamp_is_watched_while_the_slide_rests() -> None:
    fading = dimmed(0.8)(field(LATER[0]))
    state = shown([fading] * ((FIELDS // 2 - 1) * STILL), learnt())
    assert topics(state) == []
    assert topics(shown([fading] * 2 * STILL, state)) == [LAMP]


def test_a_reference_is_not_learnt_in_the_dark() -> None:
    dark = [np.zeros_like(field(0))] * 3
    state = shown([*dark, *(field(index) for index in FIRST)])
    assert state.reference is not None
    assert np.exp(state.reference.level.middle) > 150


def test_where_fields_differ_by_themselves_more_must_change() -> None:
    """A folder of fields from several slides: what they differ by is no drift."""
    draw = np.random.default_rng(1)
    images = [dimmed(float(draw.uniform(0.7, 1.0)))(field(index)) for index in range(2 * FIELDS)]
    assert topics(shown(images)) == []


def test_another_image_size_begins_anew() -> None:
    smaller = [np.ascontiguousarray(dimmed(0.5)(field(index))[:200, :240]) for index in LATER]
    assert topics(shown(smaller, learnt())) == []


def optics(**measured: object) -> Optics:
    return Optics(size_px=SIZE_PX, **measured)  # type: ignore[arg-type]


def level() -> tuple[float, float, float]:
    """The clear background of the drawn slide, red, green and blue."""
    state = learnt().reference
    assert state is not None
    green = float(np.exp(state.level.middle))
    return green * float(np.exp(state.red.middle)), green, green * float(np.exp(state.blue.middle))


def test_the_reference_is_the_optics_file_s_where_there_is_one() -> None:
    red, green, blue = level()
    measured = optics(exposure=Exposure(level=(red, green, min(255.0, blue * 1.2)), aim=(200, 240)))
    state = DriftState(reference=reference_of(measured), given=True)
    [found] = findings(shown((field(index) for index in FIRST), state))
    assert found.topic == WHITE
    assert found.text.endswith("less than in the optics file")
    right = DriftState(reference=reference_of(optics(exposure=Exposure(level=(red, green, blue), aim=(200, 240)))), given=True)
    assert topics(shown((field(index) for index in FIRST), right)) == []


def test_the_level_comes_from_whatever_the_optics_file_has() -> None:
    grid = ((100.0, 110.0), (120.0, 200.0))
    flat = reference_of(optics(flat=FlatField(red=grid, green=grid, blue=grid)))
    white = reference_of(optics(white=WhiteBalance(level=(200.0, 180.0, 160.0))))
    assert flat is not None
    assert 120 < np.exp(flat.level.middle) < 200
    assert white is not None
    assert np.exp([white.level.middle, white.red.middle]) == pytest.approx([180, 200 / 180])
    assert reference_of(optics()) is None


def test_focus_has_the_room_that_the_optics_file_gives() -> None:
    red, green, blue = level()
    wide = optics(exposure=Exposure(level=(red, green, blue), aim=(200, 240)), focus=Focus(sharpest_um=0.1, softest_um=4.9))
    state = DriftState(reference=reference_of(wide), given=True)
    assert topics(shown((blurred(field(index)) for index in FIRST), state)) == []
    narrow = optics(exposure=Exposure(level=(red, green, blue), aim=(200, 240)), focus=Focus(sharpest_um=0.1, softest_um=0.15))
    state = DriftState(reference=reference_of(narrow), given=True)
    assert topics(shown((blurred(field(index)) for index in FIRST), state)) == [FOCUS]


def test_a_resumed_run_goes_on_with_what_it_had_seen() -> None:
    dim = shown((dirty(dimmed(0.8)(field(index))) for index in range(2 * dirt.FIELDS)), learnt())
    assert topics(dim) == [LAMP, DIRT]
    again = from_state(to_state(RunState(gate=GateState(drift=dim)))).gate.drift
    assert again is not None
    assert findings(again) == findings(dim)
    again = shown((dirty(field(index)) for index in range(dirt.FIELDS)), again)
    assert topics(again) == [DIRT], "one batch does not say that it is gone"
    again = shown((field(index) for index in range(dirt.FIELDS)), again)
    assert topics(again) == []


def test_a_run_says_it_in_counts_and_heartbeats_until_it_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(standing(monkeypatch), list(going()), window_s=0.9)
    bench.run()
    said = [message.remarks for message in bench.counts]
    words = "lamp: the background is 15 % less than in the run's first fields"
    assert said[0] == ()
    assert any(words in remarks for remarks in said)
    assert said[-1] == ()
    assert all(message.valid for message in bench.counts)
    beats = [beat.reason for beat in bench.heartbeats]
    assert words in beats
    assert beats[-1] == ""
    assert "degraded" not in {beat.state for beat in bench.heartbeats}


def going() -> Iterable[Frame | float]:
    """Frames of a lamp that is dim for a while."""
    for index in range(4 * FIELDS):
        dim = FIELDS <= index < 2 * FIELDS
        yield frame_of(index, dimmed(0.85)(field(index)) if dim else field(index))
        yield 0.1


def test_the_state_is_small() -> None:
    """It is written down every second."""
    state = shown(dirty(field(index)) for index in range(3 * dirt.FIELDS - 1))
    assert len(to_state(RunState(gate=GateState(drift=state))).body) < 3_000
