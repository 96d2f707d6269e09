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


@pytest.mark.parametrize(("clips", "right"), [(144, 136), (20, 7), (3742, 3512), (816, 815)])
def test_a_share_of_clips_is_binomial(clips, right):
    exact = stats.binom.ppf(ENDS, clips, right / clips) / clips
    outcomes = np.where(np.arange(clips) < right, TOP1, MISS)
    found = bootstrap.clip_intervals(np.zeros(clips, int), outcomes, 1)["top1"]
    # A clip more or less: of 10,000 resamples the ends are known no better.
    np.testing.assert_allclose(found, exact, rtol=0, atol=1.01 / clips)
    np.testing.assert_allclose(
        bootstrap.share_interval(right, clips), exact, rtol=0, atol=1.01 / clips
    )


def test_the_figures_are_those_of_the_scores():
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


def test_over_clips_as_by_drawing_one_by_one():
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
    np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=0.012)


def test_clips_that_no_list_names_are_wrong_and_of_no_class():
    labels, outcomes = drawn(90, 6)
    rng = np.random.default_rng(1)
    samples = []
    for rows in rng.integers(100, size=(6000, 100)):
        named = rows[rows < 90]
        figures = plain_metrics(labels[named], outcomes[named], 6)
        samples.append(figures * [len(named) / 100, len(named) / 100, 1])
    expected = np.quantile(samples, ENDS, axis=0).T
    found = bootstrap.clip_intervals(labels, outcomes, 6, num_unlisted=10)
    np.testing.assert_allclose(list(found.values()), expected, rtol=0, atol=0.012)
    right = np.full(90, TOP1)
    low, high = bootstrap.clip_intervals(labels, right, 6, num_unlisted=10)["top1"]
    np.testing.assert_allclose((low, high), stats.binom.ppf(ENDS, 100, 0.9) / 100, atol=0.011)
    figures = bootstrap.metrics(labels, right, 6, num_unlisted=10)
    assert figures == {"top1": 0.9, "top5": 0.9, "mean_class_accuracy": 1}
    signers = np.array(["ann", "ben", "cem"])[np.arange(90) % 3]
    outcomes = np.where(signers == "ann", MISS, TOP1)
    over = bootstrap.signer_intervals(labels, outcomes, 6, signers, num_unlisted=10)
    assert over["top1"] == pytest.approx((0, 0.9))


def test_signs_of_one_clip_each_do_not_pull_the_mean_down():
    # A third of them isn't drawn: counted as 0, they would move the middle from 0.75 to 0.47.
    labels, outcomes = np.arange(400), np.arange(400) % 4 // 3 * MISS
    low, high = bootstrap.clip_intervals(labels, outcomes, 400)["mean_class_accuracy"]
    assert low < 0.75 < high
    assert (low + high) / 2 == pytest.approx(0.75, abs=0.01)


def test_where_all_are_right_or_none_the_bound_is_exact():
    for outcome, share in ((TOP1, 1.0), (MISS, 0.0)):
        found = bootstrap.clip_intervals(np.arange(60) % 5, np.full(60, outcome), 10)
        # The most one-sided 95 % leaves: 60 clips alike are then seen in one case of twenty.
        bound = 0.05 ** (1 / 60)
        ends = (bound, 1) if share else (0, 1 - bound)
        assert found["top1"] == found["top5"] == pytest.approx(ends)
        assert found["mean_class_accuracy"] == pytest.approx([end / 2 for end in ends])
        assert bootstrap.share_interval(int(60 * share), 60) == pytest.approx(ends)
    almost = bootstrap.share_interval(59, 60)
    assert almost[0] < 0.05 ** (1 / 60)  # a clip that is wrong doesn't raise the lower end


def test_over_three_signers_as_by_all_their_27_draws():
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


def test_clips_of_unknown_signers_are_in_every_resample():
    signers = np.repeat(["", "ann", "ben", "cem"], [5, 10, 10, 10])
    outcomes = np.where(signers == "ann", MISS, TOP1)
    outcomes[:5] = TOP5
    found = bootstrap.signer_intervals(np.zeros(35, int), outcomes, 1, signers)
    assert found["top1"] == pytest.approx((0, 30 / 35))
    assert found["top5"] == pytest.approx((5 / 35, 1))


def test_too_few_signers_or_signers_alike_have_no_interval():
    labels, outcomes = drawn(60, 3)
    two = np.array(["", "ann", "ben"])[np.arange(60) % 3]
    assert bootstrap.signer_intervals(labels, outcomes, 3, two) is None
    three = np.array(["ann", "ben", "cem"])[np.arange(60) % 3]
    found = bootstrap.signer_intervals(labels, np.full(60, TOP1), 3, three)
    assert found == {"top1": None, "top5": None, "mean_class_accuracy": None}


@pytest.mark.parametrize("over_signers", [False, True])
def test_differences_are_paired(over_signers):
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


def test_a_run_does_not_differ_from_itself():
    labels, outcomes = drawn(80, 4)
    found = bootstrap.difference_intervals(labels, outcomes, outcomes, 4)
    assert set(found.values()) == {(0.0, 0.0)}


def test_means_over_people_as_by_all_their_draws():
    figures = np.array([[0.9, 0.1], [0.5, 0.2], [0.7, 0.6]])
    samples = [figures[list(rows)].mean(axis=0) for rows in itertools.product(range(3), repeat=3)]
    expected = np.stack([np.min(samples, axis=0), np.max(samples, axis=0)], axis=1)
    np.testing.assert_allclose(bootstrap.mean_intervals(figures), expected, atol=1e-12)


def test_the_same_figures_every_time():
    labels, outcomes = drawn(50, 3)
    first, again = (bootstrap.clip_intervals(labels, outcomes, 3) for _ in range(2))
    assert first == again
