"""The arithmetic of adaptation, on drawn features whose truth is known."""

import math

import numpy as np
import pytest

from edgecell.adapt.absent import stand_ins
from edgecell.adapt.choose import FOLDS, Base, adapt_layer, folds
from edgecell.adapt.confidence import (
    LARGEST_WRONG,
    LOOSE,
    MAJORITY,
    TIGHT,
    Seen,
    foreign_below,
    temperature,
    threshold,
    upper_limit,
)
from edgecell.adapt.layer import Array, Labels, Layer, Statistics
from edgecell.adapt.normalise import discriminant, followed, offset
from edgecell.adapt.refit import metric, metric_of_cells, minimise, refit
from edgecell.adapt.report import Answers, answers, gain, held_out
from edgecell.bundle import Confidence

CLASSES, WIDTH = 4, 6
OLD = Confidence(temperature=1.0, unsure_below=0.8)


def statistics() -> Statistics:
    """Four classes, each far out along its own feature; the other two features are noise."""
    means = np.hstack([5.0 * np.eye(CLASSES), np.zeros((CLASSES, 2))])
    return Statistics(means=means, covariance=np.eye(WIDTH), counts=np.full(CLASSES, 500))


def cells(counts: dict[int, int], shift: Array | float = 0.0, seed: int = 1) -> tuple[Array, Labels]:
    """Features and labels: `counts` cells of each class on a microscope `shift` beside the training one."""
    labels = np.repeat(np.array(list(counts), np.int64), np.array(list(counts.values()), np.int64))
    noise = np.random.default_rng(seed).standard_normal((len(labels), WIDTH))
    return statistics().means[labels] + shift + noise, labels


def accuracy(layer: Layer, features: Array, labels: Labels) -> float:
    return float((layer.logits(features).argmax(axis=1) == labels).mean())


EVEN = dict.fromkeys(range(CLASSES), 25)
SHIFT = np.array([4.0, -4.0, 0.0, 0.0, 3.0, 0.0])


def test_offset_is_recovered_from_many_cells_and_shrunk_with_few() -> None:
    many = offset(statistics(), *cells(EVEN, SHIFT))
    assert np.allclose(many, SHIFT, atol=0.7)
    few = offset(statistics(), *cells({0: 2, 1: 2}, 0.3))
    assert np.abs(few).max() < 1.0
    assert not offset(statistics(), *cells({}, SHIFT)).any()


def test_another_mix_of_classes_is_no_shift() -> None:
    features, labels = cells({0: 90, 1: 5, 2: 5})
    assert np.abs(features.mean(axis=0) - statistics().means.mean(axis=0)).max() > 2
    assert np.abs(offset(statistics(), features, labels)).max() < 0.3


def test_moved_layer_undoes_the_offset() -> None:
    layer, (features, _) = discriminant(statistics()), cells(EVEN)
    assert np.allclose(layer.moved(SHIFT).logits(features + SHIFT), layer.logits(features))


def test_followed_statistics_stand_where_the_cells_are() -> None:
    features, labels = cells({0: 200, 1: 200}, SHIFT)
    now = followed(statistics(), features, labels)
    assert np.allclose(now.means[0], features[labels == 0].mean(axis=0), atol=0.3)
    assert np.allclose(now.means[3], statistics().means[3] + offset(statistics(), features, labels))
    assert now.counts.tolist() == [700, 700, 500, 500]
    assert np.linalg.eigvalsh(now.covariance).min() > 0


def test_minimise_finds_the_minimum_of_a_bent_valley() -> None:
    curvature = np.diag([1.0, 10.0, 1000.0])
    target = np.array([3.0, -2.0, 1.0])

    def valley(at: Array) -> tuple[float, Array]:
        apart = at - target
        return float(apart @ curvature @ apart) / 2, curvature @ apart

    assert np.allclose(minimise(valley, np.zeros(3)), target, atol=1e-4)


def test_refit_moves_with_a_weak_prior_and_stays_with_a_strong_one() -> None:
    start, (features, labels) = discriminant(statistics()), cells(EVEN, SHIFT)
    cost = metric(statistics())
    weak, strong = (refit(features, labels, start, cost, strength) for strength in (1.0, 1e9))
    assert accuracy(start, features, labels) < 0.7
    assert accuracy(weak, features, labels) > 0.95
    assert np.allclose(strong.weight, start.weight, atol=1e-4)
    assert np.allclose(strong.bias, start.bias, atol=1e-4)


def test_refit_is_at_a_minimum_of_the_posterior() -> None:
    start, (features, labels) = discriminant(statistics()), cells({0: 6, 1: 6}, SHIFT)
    cost, strength = metric(statistics()), 3.0
    fitted = refit(features, labels, start, cost, strength)

    def posterior(layer: Layer) -> float:
        logits = layer.logits(features)
        total = np.log(np.exp(logits).sum(axis=1))
        weight = layer.weight - start.weight
        bias = layer.bias - start.bias + weight @ cost.centre
        price = float(((weight @ cost.root) ** 2).sum() + (bias**2).sum())
        return float((total - logits[np.arange(len(labels)), labels]).sum()) + strength / 2 * price

    rng = np.random.default_rng(0)
    best = posterior(fitted)
    for _ in range(20):
        nudge = 1e-2 * rng.standard_normal(fitted.weight.shape)
        assert posterior(Layer(weight=fitted.weight + nudge, bias=fitted.bias)) > best


def test_classes_without_labelled_cells_are_still_told_apart() -> None:
    features, labels = cells({0: 15, 1: 15}, 0.5)
    fitted = refit(features, labels, discriminant(statistics()), metric(statistics()), 1.0)
    assert accuracy(fitted, *cells({2: 50, 3: 50}, 0.5, seed=2)) > 0.95


def test_stand_ins_lie_where_absent_classes_were() -> None:
    features, drawn = stand_ins(statistics(), np.repeat([0, 1], 100))
    assert np.bincount(drawn).tolist() == [0, 0, 30, 30]
    assert accuracy(discriminant(statistics()), features, drawn) > 0.95
    assert np.allclose(features, stand_ins(statistics(), np.repeat([0, 1], 100))[0])
    assert not len(stand_ins(statistics(), np.arange(CLASSES))[1])


def test_without_statistics_the_cells_themselves_set_the_cost() -> None:
    start, (features, labels) = discriminant(statistics()), cells(EVEN, SHIFT)
    assert accuracy(refit(features, labels, start, metric_of_cells(features), 1.0), features, labels) > 0.95


def test_folds_deal_out_every_class_and_are_all_used() -> None:
    labels = np.repeat([0, 1, 2], [10, 5, 3])
    part = folds(labels)
    assert set(part.tolist()) == set(range(FOLDS))
    assert np.bincount(part[labels == 0], minlength=FOLDS).tolist() == [2] * FOLDS
    assert np.bincount(part).max() - np.bincount(part).min() <= 1


@pytest.mark.parametrize("known", [True, False])
def test_adapting_helps_on_a_shifted_microscope_and_is_repeatable(known: bool) -> None:
    base = Base(layer=discriminant(statistics()), statistics=statistics() if known else None, confidence=OLD)
    features, labels = cells(dict.fromkeys(range(CLASSES), 8), SHIFT)
    adapted = adapt_layer(base, features, labels, complete=True)
    fresh = cells(EVEN, SHIFT, seed=9)
    assert accuracy(base.layer, *fresh) < 0.7
    assert accuracy(adapted.layer, *fresh) > (0.95 if known else 0.8)
    assert math.isclose(sum(adapted.shares.values()), 1.0)
    assert adapted.share_of("normalised") > 0.1 if known else adapted.share_of("kept") == 1.0
    again = adapt_layer(base, features, labels, complete=True)
    assert np.array_equal(again.layer.weight, adapted.layer.weight)
    assert again.confidence == adapted.confidence


def test_temperature_follows_many_cells_and_keeps_the_old_one_for_none() -> None:
    rng = np.random.default_rng(3)
    logits = 2.0 * rng.standard_normal((2000, 3))
    chances = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in chances])
    assert temperature(logits, labels, 1.0, LOOSE) == pytest.approx(2.5, rel=0.15)
    assert temperature(logits[:0], labels[:0], 1.3, TIGHT) == pytest.approx(1.3, rel=1e-3)


def all_right(n: int) -> Seen:
    """Cells answered right, ever surer."""
    return Seen(confidences=np.linspace(0.5, 0.999, n), right=np.ones(n, bool))


NOTHING = Seen(confidences=np.zeros(100), right=np.ones(100, bool))
"""An old layer that decided none."""


def test_threshold_is_raised_over_too_many_errors() -> None:
    confidences = np.array([0.82, 0.85, 0.9, 0.95] + [0.99] * 16)
    now = Seen(confidences=confidences, right=np.array([False, True, False, True] + [True] * 16))
    level = threshold(now, NOTHING, 0.8, complete=True)
    assert 0.82 < level <= 0.85
    assert now.wrong(level) <= LARGEST_WRONG * 20
    assert threshold(Seen(confidences=np.full(10, 0.9), right=np.zeros(10, bool)), NOTHING, 0.8, complete=True) == 1.0


@pytest.mark.parametrize(("n", "complete", "lowered"), [(58, True, False), (60, True, True), (60, False, False)])
def test_threshold_is_lowered_where_errors_are_proven_rare(n: int, complete: bool, lowered: bool) -> None:
    now = all_right(n)
    level = threshold(now, NOTHING, 0.95, complete=complete)
    assert (level < 0.95) == lowered
    assert level >= MAJORITY
    assert not lowered or now.expected(level) == pytest.approx(LARGEST_WRONG / 2, abs=0.005)


def test_threshold_is_lowered_no_further_than_the_errors_allow() -> None:
    confidences, right = np.linspace(0.85, 0.999, 100), np.ones(100, bool)
    right[[10, 60, 70]] = False
    now = Seen(confidences=confidences, right=right)
    level = threshold(now, NOTHING, 0.98, complete=True)
    assert confidences[60] < level < 0.98
    assert upper_limit(now.wrong(level), 100) <= LARGEST_WRONG


def test_threshold_is_lowered_until_as_many_are_decided_as_before() -> None:
    now, before = all_right(40), all_right(40)
    softer = Seen(confidences=now.confidences - 0.03, right=now.right)
    level = threshold(softer, before, 0.97, complete=False)
    assert softer.decided(level) == before.decided(0.97) > softer.decided(0.97)
    worse = Seen(confidences=softer.confidences, right=np.arange(40) != 37)
    assert threshold(worse, before, 0.97, complete=False) > softer.confidences[37]


def test_a_slide_like_the_labelled_cells_is_not_called_foreign() -> None:
    rng = np.random.default_rng(1)
    some = rng.uniform(0.5, 0.9, 100)
    limit = foreign_below(some, 0.95)
    assert 0.6 < limit < some.mean()
    assert foreign_below(some, 0.3) == 0.3, "never stricter than the old one"
    assert foreign_below(some[:10], 0.95) < limit
    assert foreign_below(some[:0], 0.8) == 0.8


def test_ten_cells_that_were_all_right_make_nothing_sure_of_itself() -> None:
    """They say little: the share of cells that are decided and wrong must hold on the many cells that follow."""
    far = statistics()
    near = Statistics(means=far.means / 2, covariance=far.covariance, counts=far.counts)
    base = Base(layer=discriminant(near), statistics=near, confidence=Confidence(temperature=1.0, unsure_below=0.95))
    rng = np.random.default_rng(0)
    for _ in range(10):
        labels = rng.integers(0, CLASSES, 400)
        features = near.means[labels] + rng.standard_normal((400, WIDTH))
        adapted = adapt_layer(base, features[:10], labels[:10], complete=False)
        given = answers(adapted.layer.logits(features[10:]), adapted.confidence)
        assert (given.decided & (given.top != labels[10:])).mean() <= LARGEST_WRONG


def test_gain_counts_what_changed_and_asks_whether_chance_did_it() -> None:
    labels, decided = np.repeat([0, 2], 10), np.ones(20, bool)
    wrong, right = np.where(np.arange(20) < 10, 1, labels), labels.copy()
    found = gain(Answers(top=wrong, decided=decided), Answers(top=right, decided=decided), labels, ("a", "b", "c"))
    assert (found.gained, found.lost, found.better) == (10, 0, True)
    assert list(found.by_class) == ["a", "c"]
    assert (found.before.wrong.count, found.after.wrong.count) == (10, 0)
    assert str(found.before.right) == "50.0 % (10/20; 27.2-72.8)"
    same = gain(Answers(top=wrong, decided=decided), Answers(top=wrong, decided=~decided), labels, ("a", "b", "c"))
    assert (same.gained, same.lost, same.better, same.after.wrong.count) == (0, 0, False, 0)


def test_held_out_cells_are_answered_by_layers_that_never_saw_them() -> None:
    """On labels that mean nothing no cell is answered better than by chance, however well they can be learnt by heart."""
    base = Base(layer=discriminant(statistics()), statistics=statistics(), confidence=OLD)
    features, _ = cells({0: 60}, SHIFT)
    labels = np.random.default_rng(5).integers(0, 2, 60)
    given = held_out(base, features, labels, complete=False)
    assert (given.top == labels).mean() < 0.7
    assert answers(base.layer.logits(features), OLD).top.shape == (60,)
