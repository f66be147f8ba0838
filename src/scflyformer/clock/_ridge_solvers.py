"""The two forms in which ridge regression is solved: by feature × feature sums, and by cell × cell products."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy import linalg, sparse

from scflyformer.stats._linear import CHUNK, LinearHead, column_moments, dense_rows

_FLAT = 1e-10  # variance, relative to all cells, below which a feature counts as constant in the training cells


def _positive_solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric positive definite system, overwriting the matrix; `linalg.solve` takes twice the time."""
    # the transpose of a symmetric C-ordered matrix is the Fortran order that LAPACK works on without a copy
    factor = linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    return linalg.cho_solve(factor, right, check_finite=False)


class _Solver:
    """What both forms share: which columns a feature set has, their weights, and a common scale.

    All columns are first centred and scaled with the moments over all cells. This changes no result, as the training
    folds' scaling undoes it exactly; it keeps the sums well conditioned.
    """

    def __init__(
        self,
        blocks: Mapping[str, np.ndarray | sparse.csr_matrix],
        y: np.ndarray,
        folds: np.ndarray,
        feature_sets: Mapping[str, Sequence[str]],
        alphas: np.ndarray,
        together: Collection[str] = (),
    ) -> None:
        self.blocks, self.y, self.folds, self.alphas = blocks, y, folds, alphas
        widths = [block.shape[1] for block in blocks.values()]
        ends = np.cumsum([0, *widths])
        self.columns = {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(blocks)}
        self.share = np.concatenate([np.full(width, width**-0.5) for width in widths])
        self.feature_sets = feature_sets
        self.together = [part for name, part in self.columns.items() if name in together]
        moments = [column_moments(block) for block in blocks.values()]
        self.shift, self.unit = (np.concatenate(parts) for parts in zip(*moments, strict=True))

    def dense(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return commonly scaled features of some cells."""
        parts = [dense_rows(block, rows) for block in self.blocks.values()]
        return (np.concatenate(parts, axis=1) - self.shift) / self.unit

    def index(self, name: str) -> np.ndarray:
        """Return the columns of a feature set."""
        every = np.arange(len(self.shift))
        return np.concatenate([every[self.columns[block]] for block in self.feature_sets[name]])

    def parts(self, name: str) -> list[np.ndarray | sparse.csr_matrix]:
        """Return the blocks of a feature set."""
        return [self.blocks[block] for block in self.feature_sets[name]]

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


class Primal(_Solver):
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
        """Return, per feature set, predictions of each held fold's cells by each alpha, shape (n_cells, n_alphas)."""
        mean, spread, y_mean, covariance, with_y = self._scaled(train)
        unit = np.divide(self.share, spread, out=np.zeros_like(spread), where=spread > 0)
        slopes = {}
        for name in self.feature_sets:
            index = self.index(name)
            inner = covariance[np.ix_(index, index)]
            solved = np.stack([self._solve(inner, with_y[index], alpha) for alpha in self.alphas], axis=1)
            slopes[name] = np.zeros((len(mean), len(self.alphas)))
            slopes[name][index] = solved * unit[index, None]
        every = np.concatenate(list(slopes.values()), axis=1)
        out: dict[str, list[np.ndarray]] = {name: [] for name in self.feature_sets}
        for fold in held:
            rows = np.flatnonzero(self.folds == fold)
            starts = range(0, len(rows), CHUNK)
            parts = [(self.dense(rows[start : start + CHUNK]) - mean) @ every + y_mean for start in starts]
            whole = np.concatenate(parts)
            for name, part in zip(self.feature_sets, np.split(whole, len(self.feature_sets), axis=1), strict=True):
                out[name].append(part)
        return out

    def heads(self, train: frozenset[int], alphas: Mapping[str, float]) -> dict[str, LinearHead]:
        """Return the readout of each feature set named in `alphas`, fitted on the training folds."""
        if not alphas:
            return {}
        mean, spread, y_mean, covariance, with_y = self._scaled(train)
        out = {}
        for name, alpha in alphas.items():
            index = self.index(name)
            beta = self._solve(covariance[np.ix_(index, index)], with_y[index], alpha)
            out[name] = self.head(index, mean[index], spread[index], beta, y_mean)
        return out


class Dual(_Solver):
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
        """Return, per feature set, predictions of each held fold's cells by each alpha, shape (n_cells, n_alphas)."""
        rows, _, _, z, y_mean = self._scaled(train)
        kernels = {block: z[:, part] @ z[rows, part].T for block, part in self.columns.items()}
        out = {}
        for name, blocks in self.feature_sets.items():
            kernel = sum(kernels[block] for block in blocks)
            dual = np.stack([self._solve(kernel[rows], self.y[rows] - y_mean, alpha) for alpha in self.alphas], axis=1)
            out[name] = [kernel[self.folds == fold] @ dual + y_mean for fold in held]
        return out

    def heads(self, train: frozenset[int], alphas: Mapping[str, float]) -> dict[str, LinearHead]:
        """Return the readout of each feature set named in `alphas`, fitted on the training folds."""
        if not alphas:
            return {}
        rows, mean, spread, z, y_mean = self._scaled(train)
        out = {}
        for name, alpha in alphas.items():
            index = self.index(name)
            inner = z[np.ix_(rows, index)]
            beta = inner.T @ self._solve(inner @ inner.T, self.y[rows] - y_mean, alpha)
            out[name] = self.head(index, mean[index], spread[index], beta, y_mean)
        return out
