"""States that differ are told apart in held-out samples; those that do not are not, whatever the samples are like."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scflyformer.perturbation._states import separability


def planted(gap: float, *, n_samples: int = 4, seed: int = 0, width: int = 20) -> tuple:
    """Cells of two states, each sample with an offset of its own."""
    rng = np.random.default_rng(seed)
    parts, samples = [], []
    for state in range(2):
        offsets = rng.normal(size=(n_samples, width))
        code = np.repeat(np.arange(n_samples), 40)
        cells = 3 + offsets[code] + rng.normal(size=(len(code), width))
        cells[:, 0] += gap * state
        parts.append(cells.astype(np.float32))
        samples.append(np.array([f"s{state}{one}" for one in code]))
    names = tuple(np.array([f"{state}-{cell}" for cell in range(len(part))]) for state, part in enumerate(parts))
    return parts[0], parts[1], tuple(samples), names


def test_a_true_difference_is_found() -> None:
    found = separability(*planted(8.0))
    assert found.auroc > 0.9 and found.low > 0.5 and found.interpretable and found.held_out == "sample"
    assert found.low <= found.auroc <= found.high


def test_sample_effects_alone_are_no_difference() -> None:
    """Cells of other samples decide, so what tells two samples apart does not tell the states apart."""
    found = [separability(*planted(0.0, seed=seed)) for seed in range(8)]
    assert np.mean([one.auroc for one in found]) == pytest.approx(0.5, abs=0.12)
    assert sum(one.interpretable for one in found) <= 1


@pytest.mark.parametrize("n_samples", [2, 3])
def test_few_samples_push_it_nowhere(n_samples: int) -> None:
    """As many samples of each state are left out at a time, so that neither state lies further away."""
    found = [separability(*planted(0.0, n_samples=n_samples, seed=seed), n_boot=2).auroc for seed in range(60)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_area_equals_scikit_learns() -> None:
    """With one sample a state chunks of cells are held out, and order has no say."""
    start, goal, _, names = planted(1.0)
    samples = np.full(len(start), "a"), np.full(len(goal), "b")
    found = separability(start, goal, samples, names)
    order = np.random.default_rng(1).permutation(len(start))
    again = separability(start[order], goal, samples, (names[0][order], names[1]))
    assert found.held_out == "cell"
    assert (found.auroc, found.low) == pytest.approx((again.auroc, again.low), rel=1e-9)
    unit = [value / np.linalg.norm(value, axis=1, keepdims=True) for value in (start.astype(float), goal.astype(float))]
    plain = np.concatenate(unit) @ (
        goal.mean(0) / np.linalg.norm(goal.mean(0)) - start.mean(0) / np.linalg.norm(start.mean(0))
    )
    rough = roc_auc_score(np.repeat([0, 1], [len(start), len(goal)]), plain)
    assert found.auroc == pytest.approx(rough, abs=0.05) and found.auroc < rough  # its cells had a say


def test_a_single_cell_says_nothing() -> None:
    start, goal, samples, names = planted(1.0)
    found = separability(start[:1], goal, (samples[0][:1], samples[1]), (names[0][:1], names[1]))
    assert np.isnan(found.auroc) and not found.interpretable
