"""Ridge regression, cross-validated with an inner choice of alpha, for several feature sets at once.

Every step is a function of sums over folds (count, mean, cross-products), so the data are read once: the training set
of each outer and inner fold is a sum of fold sums. Features are centred and scaled with the training folds' moments:
genes and covariates each by its standard deviation, all columns of an embedding by one number. Each block (embedding,
expression, …) is given total variance 1, so that one grid of alphas means the same to every feature set:
beta = argmin mean (y − z·beta)² + alpha·|beta|². With more features than training cells the same problem is solved in
its dual form, on cell × cell products (Saunders, Gammerman & Vovk 1998).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import linalg, sparse

from scflyformer.stats._linear import CHUNK, LinearHead, column_moments, dense_rows

ALPHAS = np.logspace(1, -6, 10)
"""Penalties tried, strongest first: the stronger one is taken where two do equally well."""
_FLAT = 1e-10  # variance, relative to all cells, below which a feature counts as constant in the training cells


@dataclass(frozen=True, eq=False)
class RidgeResult:
    """Cross-validated predictions of one feature set.

    Attributes
    ----------
    predicted
        Out-of-fold prediction of each cell, float64, shape (n_cells,).
    alphas
        Penalty chosen inside each outer training set, shape (n_folds,).
    inner
        For each outer fold, predictions of its training cells by fits that have seen neither that fold nor the cell's
        own, with the penalty chosen; NaN for the outer fold's cells. Shape (n_folds, n_cells).
    heads
        The readout of each outer training set.
    head
        The readout fitted on all cells with the penalty that did best over the outer folds; `None` unless asked for.
    alpha
        That penalty; NaN unless asked for.
    """

    predicted: np.ndarray
    alphas: np.ndarray
    inner: np.ndarray
    heads: list[LinearHead]
    head: LinearHead | None = None
    alpha: float = float("nan")


def nested_ridge(
    blocks: Mapping[str, np.ndarray | sparse.csr_matrix],
    y: np.ndarray,
    folds: np.ndarray,
    arms: Mapping[str, Sequence[str]],
    *,
    alphas: np.ndarray = ALPHAS,
    final: Sequence[str] = (),
    together: Collection[str] = (),
) -> dict[str, RidgeResult]:
    """Cross-validate ridge regression for several feature sets in the same folds with the same budget.

    For each outer fold, alpha is the one with the least squared error when each of the other folds is held out in turn
    from the training folds; the held-out fold has no part in it.

    Parameters
    ----------
    blocks
        Feature matrices by name, each of shape (n_cells, n_features), dense or CSR.
    y
        Target, shape (n_cells,).
    folds
        Fold of each cell, 0 to n_folds − 1, shape (n_cells,); at least three folds.
    arms
        The blocks each feature set is made of.
    alphas
        Penalties to choose from.
    final
        Feature sets for which a readout on all cells is wanted as well.
    together
        Blocks whose columns are divided by one number, as those of an embedding are; in the others each column is
        standardised.

    Returns
    -------
    A result per feature set.

    Raises
    ------
    ValueError
        With fewer than three folds.
    """
    n_folds = int(folds.max()) + 1
    if n_folds < 3:
        raise ValueError(f"Choosing alpha inside the training folds needs at least 3 folds; got {n_folds}.")
    everything = frozenset(range(n_folds))
    y = np.asarray(y, dtype=np.float64)
    widths = {name: block.shape[1] for name, block in blocks.items()}
    least = min(int((folds != fold).sum()) for fold in everything)
    results: dict[str, RidgeResult] = {}
    for solver in (_Primal, _Dual):
        wide = solver is _Dual
        mine = {arm: names for arm, names in arms.items() if (sum(widths[name] for name in names) > least) == wide}
        if not mine:
            continue
        used = {name: blocks[name] for name in dict.fromkeys(name for names in mine.values() for name in names)}
        fitted = solver(used, y, folds, mine, alphas, together)
        places = [np.flatnonzero(folds == fold) for fold in range(n_folds)]
        # (outer, inner fold) → predictions of the inner fold's cells
        tried: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        for pair in combinations(range(n_folds), 2):
            found = fitted.predictions(everything - set(pair), pair)
            for own, other in (pair, pair[::-1]):
                tried[own, other] = {arm: found[arm][pair.index(other)] for arm in mine}
        picks = {arm: np.empty(n_folds, dtype=np.int64) for arm in mine}
        inner = {arm: np.full((n_folds, len(y)), np.nan) for arm in mine}
        for fold in range(n_folds):
            others = sorted(everything - {fold})
            for arm in mine:
                total = sum(_squares(y[places[other]], tried[fold, other][arm]) for other in others)
                pick = picks[arm][fold] = np.argmin(total)
                for other in others:
                    inner[arm][fold, places[other]] = tried[fold, other][arm][:, pick]
        predicted = {arm: np.empty(len(y)) for arm in mine}
        outer: dict[str, list[LinearHead]] = {arm: [] for arm in mine}
        for fold in range(n_folds):
            wanted = {arm: float(alphas[picks[arm][fold]]) for arm in mine}
            for arm, head in fitted.heads(everything - {fold}, wanted).items():
                outer[arm].append(head)
                predicted[arm][places[fold]] = _apply(head, [blocks[name] for name in mine[arm]], places[fold])
        best: dict[str, float] = {}
        if asked := [arm for arm in mine if arm in final]:
            error = {arm: np.zeros(len(alphas)) for arm in asked}
            for fold in everything:
                found = fitted.predictions(everything - {fold}, (fold,))
                for arm in asked:
                    error[arm] += _squares(y[places[fold]], found[arm][0])
            best = {arm: float(alphas[error[arm].argmin()]) for arm in asked}
        heads = fitted.heads(everything, best)
        for arm in mine:
            results[arm] = RidgeResult(
                predicted[arm], np.asarray(alphas)[picks[arm]], inner[arm], outer[arm], heads.get(arm),
                best.get(arm, float("nan")),
            )  # fmt: skip
    return {arm: results[arm] for arm in arms}


def _squares(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the summed squared error of each column."""
    return ((predicted - y[:, None]) ** 2).sum(axis=0)


def _apply(head: LinearHead, parts: list[np.ndarray | sparse.csr_matrix], rows: np.ndarray) -> np.ndarray:
    slope, out, at = head.slope[0], np.full(len(rows), head.offset[0]), 0
    for part in parts:
        out += part[rows] @ slope[at : at + part.shape[1]]
        at += part.shape[1]
    return out


def _positive_solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric positive definite system, overwriting the matrix; `linalg.solve` takes twice the time."""
    # the transpose of a symmetric C-ordered matrix is the Fortran order that LAPACK works on without a copy
    factor = linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    return linalg.cho_solve(factor, right, check_finite=False)


class _Solver:
    """What both forms share: which columns an arm has, their weights, and a common scale.

    All columns are first centred and scaled with the moments over all cells. This changes no result, as the training
    folds' scaling undoes it exactly; it keeps the sums well conditioned.
    """

    def __init__(
        self,
        blocks: Mapping[str, np.ndarray | sparse.csr_matrix],
        y: np.ndarray,
        folds: np.ndarray,
        arms: Mapping[str, Sequence[str]],
        alphas: np.ndarray,
        together: Collection[str] = (),
    ) -> None:
        self.blocks, self.y, self.folds, self.alphas = list(blocks.values()), y, folds, alphas
        ends = np.cumsum([0] + [block.shape[1] for block in self.blocks])
        self.columns = {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(blocks)}
        self.share = np.concatenate([np.full(block.shape[1], block.shape[1] ** -0.5) for block in self.blocks])
        self.arms = arms
        self.together = [part for name, part in self.columns.items() if name in together]
        moments = [column_moments(block) for block in self.blocks]
        self.shift, self.unit = (np.concatenate(parts) for parts in zip(*moments, strict=True))

    def dense(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return commonly scaled features of some cells."""
        return (np.concatenate([dense_rows(block, rows) for block in self.blocks], axis=1) - self.shift) / self.unit

    def index(self, arm: str) -> np.ndarray:
        """Return the columns of an arm."""
        every = np.arange(len(self.shift))
        return np.concatenate([every[self.columns[name]] for name in self.arms[arm]])

    def spread(self, variance: np.ndarray) -> np.ndarray:
        """Return what columns are divided by, given their variance over the training cells; 0 where constant."""
        spread = np.where(variance > _FLAT, np.sqrt(np.maximum(variance, _FLAT)), 0.0)
        for part in self.together:  # one number in the features' unit is not one after the common scaling
            common = np.sqrt(np.mean((spread[part] * self.unit[part]) ** 2))
            spread[part] = np.where(spread[part] > 0, common / self.unit[part], 0.0)
        return spread

    def head(self, index: np.ndarray, mean: np.ndarray, spread: np.ndarray, beta: np.ndarray, y: float) -> LinearHead:
        """Return the readout in the features' own unit; `beta` acts on scaled features times their share."""
        live = spread > 0
        scale = np.where(live, spread, 1.0) * self.unit[index]
        weight = np.where(live, beta * self.share[index], 0.0)
        return LinearHead(self.shift[index] + self.unit[index] * mean, scale, weight[None], np.array([y]))


class _Primal(_Solver):
    """Feature × feature sums of each fold."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        n_folds, width = int(self.folds.max()) + 1, len(self.shift)
        self.n = np.bincount(self.folds, minlength=n_folds).astype(np.float64)
        self.y_sum = np.bincount(self.folds, weights=self.y, minlength=n_folds)
        self.x_sum = np.zeros((n_folds, width))
        self.xy = np.zeros((n_folds, width))
        self.xx = np.zeros((n_folds, width, width))
        for fold in range(n_folds):
            rows = np.flatnonzero(self.folds == fold)
            for start in range(0, len(rows), CHUNK):
                x, y = self.dense(rows[start : start + CHUNK]), self.y[rows[start : start + CHUNK]]
                self.x_sum[fold] += x.sum(axis=0)
                self.xy[fold] += y @ x
                self.xx[fold] += x.T @ x

    def _scaled(self, folds: frozenset[int]) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
        """Return training mean, spread, mean target, covariances of scaled features (times shares), and with y."""
        chosen = sorted(folds)
        n = self.n[chosen].sum()
        mean, y_mean = self.x_sum[chosen].sum(axis=0) / n, self.y_sum[chosen].sum() / n
        covariance = self.xx[chosen[0]].copy()
        for fold in chosen[1:]:
            covariance += self.xx[fold]
        covariance /= n
        covariance -= np.outer(mean, mean)
        spread = self.spread(np.diag(covariance))
        unit = np.divide(self.share, spread, out=np.zeros_like(spread), where=spread > 0)
        covariance *= unit
        covariance *= unit[:, None]
        with_y = (self.xy[chosen].sum(axis=0) / n - mean * y_mean) * unit
        return mean, spread, float(y_mean), covariance, with_y

    @staticmethod
    def _solve(covariance: np.ndarray, with_y: np.ndarray, alpha: float) -> np.ndarray:
        penalised = covariance.copy()
        penalised[np.diag_indices_from(penalised)] += alpha
        return _positive_solve(penalised, with_y)

    def predictions(self, train: frozenset[int], held: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """Return, per arm, the predictions of each held fold's cells by each alpha, shape (n_cells, n_alphas)."""
        mean, spread, y_mean, covariance, with_y = self._scaled(train)
        unit = np.divide(self.share, spread, out=np.zeros_like(spread), where=spread > 0)
        slopes = {}
        for arm in self.arms:
            index = self.index(arm)
            inner = covariance[np.ix_(index, index)]
            solved = np.stack([self._solve(inner, with_y[index], alpha) for alpha in self.alphas], axis=1)
            slopes[arm] = np.zeros((len(mean), len(self.alphas)))
            slopes[arm][index] = solved * unit[index, None]
        every = np.concatenate(list(slopes.values()), axis=1)
        out: dict[str, list[np.ndarray]] = {arm: [] for arm in self.arms}
        for fold in held:
            rows = np.flatnonzero(self.folds == fold)
            starts = range(0, len(rows), CHUNK)
            parts = [(self.dense(rows[start : start + CHUNK]) - mean) @ every + y_mean for start in starts]
            whole = np.concatenate(parts)
            for arm, part in zip(self.arms, np.split(whole, len(self.arms), axis=1), strict=True):
                out[arm].append(part)
        return out

    def heads(self, train: frozenset[int], alphas: Mapping[str, float]) -> dict[str, LinearHead]:
        """Return the readout of each arm named in `alphas`, fitted on the training folds."""
        if not alphas:
            return {}
        mean, spread, y_mean, covariance, with_y = self._scaled(train)
        out = {}
        for arm, alpha in alphas.items():
            index = self.index(arm)
            beta = self._solve(covariance[np.ix_(index, index)], with_y[index], alpha)
            out[arm] = self.head(index, mean[index], spread[index], beta, y_mean)
        return out


class _Dual(_Solver):
    """Cell × cell products of scaled features."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.x = self.dense(slice(None))

    def _scaled(self, folds: frozenset[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        """Return training rows, training mean and spread, scaled features (times shares) of all cells, mean y."""
        rows = np.flatnonzero(np.isin(self.folds, list(folds)))
        mean, variance = self.x[rows].mean(axis=0), self.x[rows].var(axis=0)
        spread = self.spread(variance)
        unit = np.divide(self.share, spread, out=np.zeros_like(spread), where=spread > 0)
        return rows, mean, spread, (self.x - mean) * unit, float(self.y[rows].mean())

    def _solve(self, kernel: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
        penalised = kernel.copy()
        penalised[np.diag_indices_from(penalised)] += alpha * len(y)
        return _positive_solve(penalised, y)

    def predictions(self, train: frozenset[int], held: Sequence[int]) -> dict[str, list[np.ndarray]]:
        """Return, per arm, the predictions of each held fold's cells by each alpha, shape (n_cells, n_alphas)."""
        rows, _, _, z, y_mean = self._scaled(train)
        kernels = {name: z[:, part] @ z[rows, part].T for name, part in self.columns.items()}
        out = {}
        for arm, names in self.arms.items():
            kernel = sum(kernels[name] for name in names)
            dual = np.stack([self._solve(kernel[rows], self.y[rows] - y_mean, alpha) for alpha in self.alphas], axis=1)
            out[arm] = [kernel[self.folds == fold] @ dual + y_mean for fold in held]
        return out

    def heads(self, train: frozenset[int], alphas: Mapping[str, float]) -> dict[str, LinearHead]:
        """Return the readout of each arm named in `alphas`, fitted on the training folds."""
        if not alphas:
            return {}
        rows, mean, spread, z, y_mean = self._scaled(train)
        out = {}
        for arm, alpha in alphas.items():
            index = self.index(arm)
            inner = z[np.ix_(rows, index)]
            beta = inner.T @ self._solve(inner @ inner.T, self.y[rows] - y_mean, alpha)
            out[arm] = self.head(index, mean[index], spread[index], beta, y_mean)
        return out
