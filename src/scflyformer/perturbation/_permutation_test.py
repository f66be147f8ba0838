"""Does what a gene does depend on the states? Its shift beside its shifts where the states were dealt anew.

A permutation of samples keeps all else as it is, the dependence between genes included (significance analysis of
microarrays: Tusher, Tibshirani and Chu 2001, PNAS 98, 5116-5121).
"""

from __future__ import annotations

import numpy as np

SPREAD = 0.99
"""Quantile of the genes' spreads that is added to each gene's own: small shifts are not called for being steady."""
_CLOSE = 1 - 1e-9


def permuted_shifts(dots: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean shift over samples of each gene under each permutation, float64, shape (n_permutations, n_genes).

    Parameters
    ----------
    dots
        Mean change of the dot product with each unit's sum, over the cells of each sample, shape (n_genes, n_samples,
        n_units); NaN where a sample has no cell of the gene.
    weights
        What that adds to the shift, shape (n_permutations, n_samples, n_units).
    """
    there = np.isfinite(dots).all(2)
    flat = np.where(there[:, :, None], dots, 0).reshape(len(dots), -1)
    total = weights.reshape(len(weights), -1) @ flat.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / there.sum(1)


def permutation_p_values(shifts: np.ndarray) -> np.ndarray:
    """Return the two-sided p-value of each gene by its own permutations, shape (n_genes,).

    ``shifts`` are those in truth, first, and under permutations, shape (1 + n_permutations, n_genes). The truth counts
    as one of the permutations, so that no p-value is below 1 / (1 + n_permutations).
    """
    size = np.abs(shifts)
    return np.where(np.isfinite(size[0]), (size >= size[0] * _CLOSE).mean(0), np.nan)


def scan_false_discoveries(shifts: np.ndarray) -> np.ndarray:
    """Return the share of false discoveries among the genes of a scan that stand out at least as far as each.

    A gene stands out by its shift over the sum of its own spread over permutations and the `SPREAD` quantile of all
    genes' spreads. The share is the mean number, over permutations, of genes that stand out as far, by the number in
    truth. The smallest share that each permutation gives by itself is compared with the smallest in truth: that p-value
    of the whole scan bounds every share from below, so that a scan without anything to find calls a gene with the
    probability asked for, however much genes depend on each other.

    Parameters
    ----------
    shifts
        In truth, first, and under permutations, which count the truth as one; shape (1 + n_permutations, n_genes).
    """
    out, known = np.full(shifts.shape[1], np.nan), np.flatnonzero(np.isfinite(shifts).all(0))
    if not len(known):
        return out
    spread = shifts[:, known].std(0)
    common = np.quantile(spread, SPREAD)
    if common == 0:
        return out
    effects = np.abs(shifts[:, known]) / (spread + common)
    every, number = np.sort(effects, axis=None), np.arange(1, len(known) + 1)
    expected = np.empty(effects.size)
    expected[np.argsort(-effects, axis=None)] = np.arange(1, effects.size + 1) / len(effects)
    least = (np.sort(expected.reshape(effects.shape), axis=1) / number).min(1)
    ranked = np.sort(effects[0])[::-1]
    in_truth = (len(every) - np.searchsorted(every, ranked * _CLOSE, side="left")) / len(effects)
    shares = np.minimum.accumulate((in_truth / number)[::-1])[::-1]
    least[0] = shares[0]
    whole = float((least <= least[0] / _CLOSE).mean())
    out[known[np.argsort(-effects[0], kind="stable")]] = np.clip(shares, whole, 1.0)
    return out
