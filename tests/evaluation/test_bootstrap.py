"""Intervals against exact distributions and against resampling written out in full."""

import itertools

import numpy as np
import pytest
from scipy import stats  # JAX brings it along

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.scores import MISS, TOP1, TOP5, Scores

ENDS = (0.025, 0.975)


def drawn(clips, classes, seed=0, share=(0.8, 0.1, 0.1)):
    """Labels and outcomes, some signs harder than others."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=clips)
    outcomes = rng.choice(3, size=clips, p=share)
    outcomes[labels == 0] = MISS
    return labels, outcomes


@pytest.mark.parametrize(
    ("clips", "correct"), [(144, 136), (20, 7), (3742, 3512), (816, 815), (60, 60), (60, 0)]
)
def test_share_interval_solves_the_score_equation(clips, correct):
    """Its ends are the shares p with |correct / clips - p| = z sqrt(p (1 - p) / clips)."""
    outcomes = np.where(np.arange(clips) < correct, TOP1, MISS)
    ends = bootstrap.clip_intervals(np.zeros(clips, int), outcomes, 1)["top1"]
    assert ends == bootstrap.share_interval(correct, clips)
    z = stats.norm.ppf(0.975)
    for end, outermost in zip(ends, (0, 1), strict=True):
        if correct / clips == outermost:
            assert end == outermost
        else:
            distance = z * np.sqrt(end * (1 - end) / clips)
            assert abs(correct / clips - end) == pytest.approx(distance, rel=1e-9)


def test_metrics_equal_those_of_the_scores():
    probabilities = np.random.default_rng(0).random((200, 12))
    labels, _ = drawn(200, 10)  # two classes without a clip
    scores = Scores(probabilities, labels)
    found = bootstrap.metrics(labels, scores.outcomes, 12)
    assert found == pytest.approx(scores.metrics(), abs=1e-12)


def plain_metrics(labels, outcomes, classes):
    """As `metrics_from_counts` defines them, with loops."""
    of_class = [outcomes[labels == label] for label in range(classes)]
    accuracies = [(of == TOP1).mean() for of in of_class if of.size]
    return np.array([(outcomes == TOP1).mean(), (outcomes < MISS).mean(), np.mean(accuracies)])


def test_clip_interval_of_mean_class_accuracy_equals_a_plain_bootstrap():
    labels, outcomes = drawn(90, 6)
    rng = np.random.default_rng(1)
    samples = [
        plain_metrics(labels[rows], outcomes[rows], 6) for rows in rng.integers(90, size=(6000, 90))
    ]
    expected = np.quantile(samples, ENDS, axis=0).T
    # Classes 6 and 7 have no clip: each counts 0.
    expected[2] *= 6 / 8
    found = bootstrap.clip_intervals(labels, outcomes, 8)
    assert list(found) == list(bootstrap.METRICS)
    # 6,000 resamples and 10,000 differ by about 0.01.
    np.testing.assert_allclose(found["mean_class_accuracy"], expected[2], rtol=0, atol=0.012)


def test_intervals_count_unlisted_clips_as_wrong_and_of_no_class():
    labels, outcomes = drawn(90, 6)
    rng = np.random.default_rng(1)
    samples = []
    for rows in rng.integers(100, size=(6000, 100)):
        named = rows[rows < 90]
        figures = plain_metrics(labels[named], outcomes[named], 6)
        samples.append(figures * [len(named) / 100, len(named) / 100, 1])
    expected = np.quantile(samples, ENDS, axis=0).T
    found = bootstrap.clip_intervals(labels, outcomes, 6, num_unlisted=10)
    np.testing.assert_allclose(found["mean_class_accuracy"], expected[2], rtol=0, atol=0.012)
    correct = np.full(90, TOP1)
    interval = bootstrap.clip_intervals(labels, correct, 6, num_unlisted=10)["top1"]
    assert interval == bootstrap.share_interval(90, 100)
    metrics = bootstrap.metrics(labels, correct, 6, num_unlisted=10)
    assert metrics == {"top1": 0.9, "top5": 0.9, "mean_class_accuracy": 1}
    signers = np.array(["ann", "ben", "cem"])[np.arange(90) % 3]
    outcomes = np.where(signers == "ann", MISS, TOP1)
    over = bootstrap.signer_intervals(labels, outcomes, 6, signers, num_unlisted=10)
    assert over["top1"] == pytest.approx((0, 0.9))


def test_clip_interval_of_signs_with_one_clip_each_is_centered():
    # A third of them isn't drawn: counted as 0, they would move the middle from 0.75 to 0.47.
    labels, outcomes = np.arange(400), np.arange(400) % 4 // 3 * MISS
    low, high = bootstrap.clip_intervals(labels, outcomes, 400)["mean_class_accuracy"]
    assert low < 0.75 < high
    assert (low + high) / 2 == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("outcome", [TOP1, MISS])
def test_clip_intervals_of_equal_outcomes_scale_with_the_classes_present(outcome):
    intervals = bootstrap.clip_intervals(np.arange(60) % 5, np.full(60, outcome), 10)
    low, high = bootstrap.share_interval(60 * (outcome == TOP1), 60)
    assert intervals["top1"] == intervals["top5"] == (low, high)
    assert intervals["mean_class_accuracy"] == pytest.approx((low / 2, high / 2))


def test_signer_intervals_of_three_signers_equal_all_27_draws():
    labels, outcomes = drawn(120, 4)
    signers = np.array(["ann", "ben", "cem"])[np.arange(120) % 11 % 3]
    outcomes[(signers == "ben") & (np.arange(120) % 2 == 0)] = MISS
    samples = []
    for people in itertools.product(("ann", "ben", "cem"), repeat=3):
        rows = np.concatenate([np.flatnonzero(signers == name) for name in people])
        samples.append(plain_metrics(labels[rows], outcomes[rows], 4))
    # With 27 equal chances, both ends of 2.5 % are the extremes.
    expected = np.stack([np.min(samples, axis=0), np.max(samples, axis=0)], axis=1)
    found = bootstrap.signer_intervals(labels, outcomes, 4, signers)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-12)
    over_clips = bootstrap.clip_intervals(labels, outcomes, 4)
    assert np.ptp(found["top1"]) > np.ptp(over_clips["top1"])


def test_signer_intervals_hold_clips_of_unknown_signers_fixed():
    signers = np.repeat(["", "ann", "ben", "cem"], [5, 10, 10, 10])
    outcomes = np.where(signers == "ann", MISS, TOP1)
    outcomes[:5] = TOP5
    found = bootstrap.signer_intervals(np.zeros(35, int), outcomes, 1, signers)
    assert found["top1"] == pytest.approx((0, 30 / 35))
    assert found["top5"] == pytest.approx((5 / 35, 1))


def test_signer_intervals_of_too_few_or_equal_signers_are_none():
    labels, outcomes = drawn(60, 3)
    two = np.array(["", "ann", "ben"])[np.arange(60) % 3]
    assert bootstrap.signer_intervals(labels, outcomes, 3, two) is None
    three = np.array(["ann", "ben", "cem"])[np.arange(60) % 3]
    found = bootstrap.signer_intervals(labels, np.full(60, TOP1), 3, three)
    assert found == {"top1": None, "top5": None, "mean_class_accuracy": None}


@pytest.mark.parametrize("over_signers", [False, True])
def test_difference_intervals_equal_a_plain_paired_bootstrap(over_signers):
    labels, before = drawn(150, 5)
    after = before.copy()
    after[:20] = TOP1
    after[140:] = MISS
    signers = np.array([f"signer {i}" for i in np.arange(150) // 15])
    rng, samples = np.random.default_rng(3), []
    for _ in range(4000):
        if over_signers:
            people = rng.integers(10, size=10)
            rows = (15 * people[:, None] + np.arange(15)).ravel()
        else:
            rows = rng.integers(150, size=150)
        both = (plain_metrics(labels[rows], of[rows], 5) for of in (after, before))
        samples.append(np.subtract(*both))
    expected = np.quantile(samples, ENDS, axis=0).T
    found = bootstrap.difference_intervals(
        labels, before, after, 5, signers if over_signers else None
    )
    np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=0.012)
    if not over_signers:
        # Drawn apart, the two figures would vary far more than their difference.
        apart = bootstrap.clip_intervals(labels, before, 5)["top1"]
        assert np.ptp(found["top1"]) < 0.8 * np.sqrt(2) * np.ptp(apart)


def test_difference_intervals_of_equal_outcomes_are_zero():
    labels, outcomes = drawn(80, 4)
    found = bootstrap.difference_intervals(labels, outcomes, outcomes, 4)
    assert set(found.values()) == {(0.0, 0.0)}


def test_mean_intervals_of_three_people_equal_all_27_draws():
    figures = np.array([[0.9, 0.1], [0.5, 0.2], [0.7, 0.6]])
    samples = [figures[list(rows)].mean(axis=0) for rows in itertools.product(range(3), repeat=3)]
    expected = np.stack([np.min(samples, axis=0), np.max(samples, axis=0)], axis=1)
    np.testing.assert_allclose(bootstrap.mean_intervals(figures), expected, atol=1e-12)


def test_clip_intervals_are_reproducible():
    labels, outcomes = drawn(50, 3)
    first, again = (bootstrap.clip_intervals(labels, outcomes, 3) for _ in range(2))
    assert first == again
