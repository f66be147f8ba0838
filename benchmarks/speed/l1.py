"""How long the L1 classifier of `tl.annotate`'s baselines takes beside scikit-learn's saga to the same objective.

``python -m benchmarks.speed.l1`` draws cells, fits both to them, and prints seconds and objectives of three repeats.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from scflyformer.stats._sparse_logistic import fit_sparse_logistic


def drawn(n_cells: int, n_genes: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised features with correlated columns, float32, and class codes."""
    random = np.random.default_rng(seed)
    y = random.integers(0, n_classes, n_cells)
    axes = random.normal(size=(30, n_genes)) * np.linspace(1, 0.1, 30)[:, None]
    x = (random.normal(0, 0.6, (n_classes, 30))[y] + random.normal(size=(n_cells, 30))) @ axes
    x += 2 * random.normal(size=x.shape)
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32), y


def objective(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, strength: float) -> float:
    """Return the mean cross-entropy plus the penalty."""
    from scipy.special import log_softmax

    loss = -log_softmax(x.astype(np.float64) @ weight.T + bias, axis=1)[np.arange(len(y)), y].mean()
    return float(loss + strength * np.abs(weight).sum())


def main() -> None:
    from sklearn.linear_model import LogisticRegression

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=300)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--penalty", type=float, default=0.1, help="scikit-learn's C")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    strength = 1 / (options.penalty * options.cells)
    print("repeat\tours_s\tsaga_s\tratio\tours_objective\tsaga_objective\tsaga_epochs")
    for repeat in range(options.repeats):
        x, y = drawn(options.cells, options.genes, options.classes, repeat)
        start = time.perf_counter()
        head = fit_sparse_logistic(x, y, n_classes=options.classes, penalty=options.penalty)
        ours = time.perf_counter() - start
        value = objective(x, y, head.weight, head.bias, strength)
        # saga goes on in doublings of its epochs until its objective is as low; the last run alone is counted
        epochs = 5
        while True:
            model = LogisticRegression(l1_ratio=1, solver="saga", C=options.penalty, tol=0, max_iter=epochs)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = time.perf_counter()
                model.fit(x, y)
            saga = time.perf_counter() - start
            reached = objective(x, y, model.coef_, model.intercept_, strength)
            if reached <= value * (1 + 1e-4) or epochs >= 2000:
                break
            epochs *= 2
        print(f"{repeat}\t{ours:.2f}\t{saga:.2f}\t{saga / ours:.1f}\t{value:.5f}\t{reached:.5f}\t{epochs}", flush=True)


if __name__ == "__main__":
    main()
