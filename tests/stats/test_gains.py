"""Whether one prediction is better than another: said of whole samples, and seldom where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from scflyformer.stats._classification import accuracy, macro_f1
from scflyformer.stats._intervals import gain_interval, percentile_interval
from scflyformer.stats._reports import class_gains, gain_caveat, gain_sentence, number_scores, verdict

TELLING = ("above", "below")
AGES = np.log2(1 + np.array([0.0, 1, 3, 6, 9, 15, 30, 50]))


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 150)
    return truth, np.where(rng.random(150) < 0.7, truth, rng.integers(0, 5, 150)), rng.integers(0, 6, 150)


@pytest.mark.parametrize("n_samples", [2, 3, 4, 5, 8, 18])
def test_without_a_difference_hardly_anything_is_said(n_samples: int) -> None:
    """Of gains of samples that differ by chance alone; a percentile bootstrap says far more with few of them."""
    gains = np.random.default_rng(n_samples).normal(size=(8000, n_samples))
    said = np.mean([verdict(*gain_interval(row)) in TELLING for row in gains])
    assert said <= 0.06
    assert said == 0 if n_samples == 2 else said > 0.04
    if n_samples <= 5:
        drawn = np.random.default_rng(0).integers(0, n_samples, (300, n_samples))
        bootstrapped = [verdict(*percentile_interval(row[drawn].mean(axis=1))) in TELLING for row in gains[:500]]
        assert np.mean(bootstrapped) > 0.1


@pytest.mark.parametrize("n_samples", [2, 3, 5, 8])
def test_without_a_difference_the_scores_say_hardly_anything(n_samples: int) -> None:
    """Classes and ages predicted twice, as well: samples differ in size, in their classes and in how hard they are."""
    rng, said, n = np.random.default_rng(n_samples), dict.fromkeys(("accuracy", "macro_f1", "r2", "spearman"), 0), 150
    for _ in range(n):
        samples = np.repeat(np.arange(n_samples), rng.integers(20, 60, n_samples))
        shares = rng.dirichlet(np.ones(5), n_samples)
        truth = np.array([rng.choice(5, p=shares[sample]) for sample in samples])
        right = np.clip(rng.normal(0.8, 0.07, (2, n_samples)), 0, 1)[:, samples] > rng.random((2, len(samples)))
        first, second = np.where(right, truth, rng.integers(0, 5, right.shape))
        found = class_gains(truth, first, second, samples)
        ages = np.resize(AGES, n_samples)[samples]
        told = 0.8 * ages + rng.normal(0, 0.6, (2, n_samples))[:, samples] + rng.normal(0, 0.8, (2, len(samples)))
        one, other = (number_scores(ages, p, samples, target_truth=ages, target_predicted=p) for p in told)
        for score in ("r2", "spearman"):
            found |= dict(
                zip((f"{score}_gain{end}" for end in ("", "_low", "_high")), one.gain(score, other), strict=True)
            )
        for score in said:
            said[score] += verdict(found[f"{score}_gain_low"], found[f"{score}_gain_high"]) in TELLING
    most = stats.binom.ppf(0.99, n, 0.06)
    assert max(said.values()) <= (0 if n_samples == 2 else most), said


def test_a_difference_that_every_sample_shows_is_told() -> None:
    """In five samples of classes, one prediction right a tenth more often."""
    rng = np.random.default_rng(0)
    samples, truth = np.repeat(np.arange(5), 400), rng.integers(0, 4, 2000)
    first, second = (np.where(rng.random(2000) < share, truth, (truth + 1) % 4) for share in (0.9, 0.8))
    gain = class_gains(truth, first, second, samples)
    for score in ("accuracy", "macro_f1"):
        assert verdict(gain[f"{score}_gain_low"], gain[f"{score}_gain_high"]) == "above"
        assert 0 < gain[f"{score}_gain_least"] < gain[f"{score}_gain"] < gain[f"{score}_gain_most"]


def test_gains_are_those_of_samples(labels: tuple) -> None:
    truth, predicted, samples = labels
    better = np.where(np.arange(150) % 5 == 0, truth, predicted)
    gain = class_gains(truth, better, predicted, samples)
    by_hand = []
    for sample in range(6):
        at = samples == sample
        has = np.unique(truth[at])
        both = [f1_score(truth[at], p[at], labels=has, average="macro", zero_division=0) for p in (better, predicted)]
        by_hand.append(both[0] - both[1])
    assert gain["macro_f1_gain"] == pytest.approx(np.mean(by_hand))
    expected = stats.ttest_1samp(by_hand, 0).confidence_interval(0.95)
    assert (gain["macro_f1_gain_low"], gain["macro_f1_gain_high"]) == pytest.approx(expected)
    assert (gain["macro_f1_gain_least"], gain["macro_f1_gain_most"]) == pytest.approx((min(by_hand), max(by_hand)))
    back = class_gains(truth, predicted, better, samples)
    assert back["macro_f1_gain_high"] == pytest.approx(-gain["macro_f1_gain_low"])
    same = class_gains(truth, predicted, predicted, samples)
    assert (same["accuracy_gain_low"], same["accuracy_gain_high"]) == (0, 0)
    assert verdict(0.0, 0.0) == verdict(np.nan, np.nan) == "cannot be told from"
    assert np.isnan(list(class_gains(truth, predicted, None, samples).values())).all()


def test_without_samples_cells_are_the_units(labels: tuple) -> None:
    truth, predicted, _ = labels
    better = np.where(np.arange(150) < 30, truth, predicted)
    gain = class_gains(truth, better, predicted, None)
    assert gain["accuracy_gain"] == pytest.approx(accuracy(truth, better) - accuracy(truth, predicted))
    assert gain["macro_f1_gain"] == pytest.approx(macro_f1(truth, better) - macro_f1(truth, predicted))
    for score in ("accuracy", "macro_f1"):
        assert 0 < gain[f"{score}_gain_low"] < gain[f"{score}_gain"] < gain[f"{score}_gain_high"] < 0.2
        assert np.isnan(gain[f"{score}_gain_least"])


@pytest.mark.parametrize("n_samples", [1, 2])
def test_few_samples_cannot_tell_however_clear_they_are(labels: tuple, n_samples: int) -> None:
    truth, predicted, _ = labels
    gain = class_gains(truth, truth, predicted, np.arange(150) % n_samples) | {"n_samples": n_samples}
    assert gain["accuracy_gain"] > 0.2 and np.isnan(gain["accuracy_gain_low"])
    said = gain_sentence("embedding", {"features": "pca", **gain}, {"accuracy": "accuracy"})
    assert said.startswith(f"embedding cannot be told from pca in accuracy ({gain['accuracy_gain']:+.3f}")
    assert gain_caveat(n_samples) == [f"{n_samples} sample{'s' * (n_samples - 1)} cannot tell, 3 or more can"]
    both = f"in its two samples {gain['accuracy_gain_least']:+.3f} and {gain['accuracy_gain_most']:+.3f})"
    assert (both in said) is (n_samples == 2)


def test_a_sentence_names_the_other_once_and_says_what_was_sampled() -> None:
    row = {"features": "depth", "r2_gain": 0.1234, "r2_gain_low": 0.05, "r2_gain_high": 0.2, "n_samples": 7}
    row |= {"rho_gain": -0.1, "rho_gain_low": -0.3, "rho_gain_high": 0.1}
    said = gain_sentence("embedding", row, {"r2": "R²", "rho": "Spearman"})
    assert said == (
        "embedding above depth in R² (+0.123, 95 % +0.050 to +0.200); "
        "cannot be told from it in Spearman (-0.100, 95 % -0.300 to +0.100)"
    )
    assert gain_sentence("embedding", row, {"r2": "R²"}) == said.split(";")[0]
    assert gain_caveat(7) == gain_caveat(3) == []
    assert gain_caveat(0) == ["cells were resampled and count as independent, which says nothing of another sample"]
