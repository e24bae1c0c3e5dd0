"""Where frames lie beside one another, on the drawn slide, which knows it."""

import numpy as np
import pytest

from edgecell.messages import Frame
from edgecell.register import LIKE, SIDE, may_share, shift, small, small_size
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

SIZE = 160, 90
SCALE = 1280 / SIDE


def frames(**options: object) -> list[Frame]:
    with PhantomSource(Options(**{"frames": 3, **options})) as source:  # type: ignore[arg-type]  # names and values of fields
        return [frame for _ in range(3) if (frame := source.read(1.0))]


def picture(frame: Frame) -> bytes:
    return small(frame.image).tobytes()


@pytest.mark.parametrize("overlap", [0.08, 0.2, 0.5, 0.95])
@pytest.mark.parametrize("seed", [21, 22])
def test_frames_that_share_a_strip_or_nearly_all_are_found_to_a_pixel(overlap: float, seed: int) -> None:
    one, other, _ = frames(stage="overlapping", overlap=overlap, seed=seed)
    found = shift(picture(one), picture(other), SIZE)
    assert found is not None
    assert (found.x * SCALE, found.y * SCALE) == pytest.approx((1280 * (1 - overlap), 0), abs=1.0)
    assert found.likeness > LIKE + 0.1
    back = shift(picture(other), picture(one), SIZE)
    assert back is not None
    assert (back.x, back.y) == pytest.approx((-found.x, -found.y), abs=0.05)


def test_a_place_between_two_small_pixels_is_found_to_a_pixel() -> None:
    """Eight pixels of the frame are one small pixel: where it lies halfway, both neighbours are as likely."""
    [wide, *_] = frames(width=2304, seed=21)
    one, *others = (small(np.ascontiguousarray(wide.image[:, at : at + 1280])).tobytes() for at in (0, 500, 503, 507, 900))
    places = [found and (found.x * SCALE, found.y * SCALE) for found in (shift(one, other, SIZE) for other in others)]
    assert places == [pytest.approx((px, 0), abs=1.2) for px in (500, 503, 507, 900)]


@pytest.mark.parametrize("overlap", [0.08, 0.6])
def test_a_look_near_the_place_finds_the_same_and_one_elsewhere_nothing(overlap: float) -> None:
    one, other, _ = (picture(frame) for frame in frames(stage="overlapping", overlap=overlap, seed=21))
    whole = shift(one, other, SIZE)
    assert whole is not None
    assert shift(one, other, SIZE, (whole.x + 1.4, whole.y - 1.4)) == pytest.approx(tuple(whole), abs=1e-6)
    for far in ((whole.x + 3.4, whole.y), (whole.x - 20, whole.y), (0.0, 60.0), (-500.0, 500.0)):
        assert shift(one, other, SIZE, far) is None


@pytest.mark.parametrize("seed", range(21, 25))
def test_frames_that_share_nothing_are_not_alike(seed: int) -> None:
    one, other, third = (picture(frame) for frame in frames(stage="fields", seed=seed))
    assert shift(one, other, SIZE) is None
    assert shift(one, third, SIZE) is None


def test_a_coarse_look_tells_what_to_look_at_closely() -> None:
    one, other, _ = (picture(frame) for frame in frames(stage="overlapping", overlap=0.3, seed=21))
    [far, *_] = (picture(frame) for frame in frames(stage="fields", seed=22))
    assert may_share(one, other, SIZE) > 0.9
    assert may_share(one, far, SIZE) == 0.0


@pytest.mark.parametrize("shape", [(16, 16, 3), (300, 200, 3), (1, 50, 3)])
def test_a_picture_without_cells_is_like_nothing(shape: tuple[int, int, int]) -> None:
    flat = np.full(shape, 230, np.uint8)
    noise = np.random.default_rng(1).integers(0, 255, (2, *shape)).astype(np.uint8)
    size = small_size(shape)
    assert small(flat).shape == (size[1], size[0])
    assert shift(small(flat).tobytes(), small(flat).tobytes(), size) is None
    assert shift(small(noise[0]).tobytes(), small(flat).tobytes(), size) is None
    if min(shape[:2]) > 1:
        assert shift(small(noise[0]).tobytes(), small(noise[1]).tobytes(), size) is None
