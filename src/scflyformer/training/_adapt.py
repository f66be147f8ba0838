"""A model's profile encoder and tokens for genes that it does not know, in closed form from unlabelled cells.

New genes are placed by their regression on the code of the known genes, and directions of expression of these cells,
over all genes, are added behind those of the model. Nothing that is computed from known genes alone changes.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._network import CellBert
from scflyformer.training._directions import gene_statistics, profiles, reliable_directions, subsample_cells
from scflyformer.training._extend import gene_abundance

if TYPE_CHECKING:
    from scflyformer.network._profile import ProfileEncoder
    from scflyformer.training._store import TokenStore

MOST_CELLS, MOST_GENES = 20_000, 2_000
"""Cells that are used at most, and genes that the further directions read."""
VARIANCE = (2.0, 4.0)
"""Total variance of the further directions in these cells, in units of that of the model's directions, where the model
reads all of their counts, and where it reads none: the less it reads, the more the cells themselves decide who is near
whom."""
FEWEST, MOST = 30, 128
"""Bounds of the number of further directions; between them it is a tenth of the number of cells."""
NEIGHBOURS = 5
"""Known genes from which a new gene takes its token."""
_LEAST_RELIABILITY = 0.01


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the genes that a model lacks stand, and the directions that its code lacks.

    Attributes
    ----------
    rows
        Of the new genes, in the model's directions, those that its contrast reads first, float32, shape
        (n_new, n_read + n_directions).
    further
        Directions to add, over all genes, float32, shape (n_genes, n_further).
    centre
        Mean value of the new genes, float32, shape (n_new,).
    neighbours, weights
        For each new gene the known genes most like it and how much each counts, shape (n_new, `NEIGHBOURS`); all
        weights are 0 where the gene is too noisy to say.
    """

    rows: np.ndarray
    further: np.ndarray
    centre: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray


def place(encoder: ProfileEncoder, store: TokenStore, *, seed: int) -> Placement:
    """Place the genes of ``store``, cells of one data set, that come after those of ``encoder``."""
    random = np.random.default_rng(seed)
    cells = subsample_cells(np.flatnonzero(store.lengths > 0), MOST_CELLS, random)
    n_further = min(max(FEWEST, min(MOST, len(cells) // 10)), store.panels.shape[1])
    fitted = reliable_directions(store, cells, n_further, most_genes=MOST_GENES, seed=seed)
    n_old = len(encoder.centre)
    known = np.flatnonzero(store.panels[0, :n_old])
    signal, rows, variances = _regress_on_code(encoder, store, cells, known, fitted.reliability, random)
    unread = gene_abundance(store, cells)["share"][n_old:].sum()
    weight = VARIANCE[0] + (VARIANCE[1] - VARIANCE[0]) * unread
    unit = np.sqrt(weight * variances[encoder.n_read :].sum() / max((fitted.spread**2).sum(), 1e-12))
    neighbours, weights = _nearest_known_genes(signal, fitted.reliability, known, n_old)
    return Placement(
        rows[n_old:], (fitted.weights * unit).astype(np.float32), fitted.centre[n_old:], neighbours, weights
    )


def place_genes(encoder: ProfileEncoder, store: TokenStore, cells: np.ndarray, *, n_old: int, seed: int) -> None:
    """Place genes in an encoder that has an entry for them already, each in the largest data set that measured it.

    ``cells`` are positions in the store; at most 20,000 of each data set are used. The genes that the encoder knew, the
    first ``n_old``, stay as they are.
    """
    random = np.random.default_rng(seed)
    cells = cells[store.lengths[cells] > 0]
    sources, sizes = np.unique(store.source[cells], return_counts=True)
    missing = np.arange(store.panels.shape[1]) >= n_old
    for source in sources[np.argsort(-sizes, kind="stable")]:
        panel = store.panels[source]
        new, known = np.flatnonzero(panel & missing), np.flatnonzero(panel[:n_old])
        if not len(new):
            continue
        missing[new] = False
        of_source = subsample_cells(cells[store.source[cells] == source], MOST_CELLS, random)
        reliability, centre = gene_statistics(store, [of_source], panel[None], random)
        _, rows, _ = _regress_on_code(encoder, store, of_source, known, reliability, random)
        _set_genes(encoder, new, rows[new], centre[new])


def _set_genes(encoder: ProfileEncoder, genes: np.ndarray, rows: np.ndarray, centre: np.ndarray) -> None:
    """Set the weights of ``genes`` in the first directions of an encoder, as many as ``rows`` has, and their means."""
    read, directions = (torch.from_numpy(part) for part in np.split(rows, [encoder.n_read], axis=1))
    with torch.no_grad():
        encoder.directions[genes, : directions.shape[1]] = directions
        if encoder.contrast_directions is not None:
            encoder.contrast_directions[genes] = read
        encoder.centre[genes] = torch.from_numpy(centre)


def _regress_on_code(
    encoder: ProfileEncoder,
    store: TokenStore,
    cells: np.ndarray,
    known: np.ndarray,
    reliability: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how genes go with the code of the ``known`` genes in these cells, noise of counting left out.

    That is: the covariance of each gene with the axes of the code along which these cells have signal, each at variance
    1, shape (n_axes, n_genes); what each gene should add to the model's directions, by its regression on the code,
    float32, shape (n_genes, n_directions); and the variance of whole cells along each direction, shape (n_directions,).
    """
    directions = encoder.rows(torch.from_numpy(known)).detach().cpu().numpy()
    n_codes, n_genes, n = directions.shape[1], store.panels.shape[1], len(cells)
    code_code, code_gene = np.zeros((n_codes, n_codes)), np.zeros((n_codes, n_genes))
    squares, sums, total = np.zeros((2, n_codes)), np.zeros((2, n_genes)), np.zeros(n_codes)
    for full, first, second in profiles(store, cells, random):
        whole, a, b = (part[:, known] @ directions for part in (full, first, second))
        code_code += a.T @ b
        code_gene += (a.T @ second + b.T @ first) / 2
        squares += [(whole**2).sum(0), (a**2 + b**2).sum(0) / 2]
        sums += [first.sum(0), second.sum(0)]
        total += whole.sum(0)
    genes = sums / n
    codes = genes[:, known] @ directions
    code_code = code_code / n - np.outer(*codes)
    code_code = (code_code + code_code.T) / 2
    code_gene = code_gene / n - (np.outer(codes[0], genes[1]) + np.outer(codes[1], genes[0])) / 2
    noise = squares[1] / n - (codes**2).mean(0) - np.diag(code_code)
    values, axes = np.linalg.eigh(code_code)
    kept = values > max(2 * noise.mean() * np.sqrt(n_codes / n), 1e-3 * values[-1], 1e-12)  # above the estimate's error
    axes = axes[:, kept] / np.sqrt(values[kept])
    signal = axes.T @ code_gene
    guess = (axes @ signal) * reliability
    fit = (guess[:, known] * directions.T).sum(1) / np.maximum((guess[:, known] ** 2).sum(1), 1e-12)
    rows = (guess * np.maximum(fit, 0)[:, None]).T.astype(np.float32)
    return signal, rows, squares[0] / n - (total / n) ** 2


def _nearest_known_genes(
    signal: np.ndarray, reliability: np.ndarray, known: np.ndarray, n_old: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the known genes whose signal is most like that of each new gene, and their weights."""
    n_new = signal.shape[1] - n_old
    length = np.linalg.norm(signal, axis=0)
    unit = np.divide(signal, length, out=np.zeros_like(signal), where=length > 1e-9)
    candidates = known[reliability[known] > _LEAST_RELIABILITY]
    k = min(NEIGHBOURS, len(candidates))
    neighbours, weights = np.zeros((n_new, NEIGHBOURS), dtype=int), np.zeros((n_new, NEIGHBOURS))
    if not k or not len(signal):
        return neighbours, weights
    likeness = unit[:, n_old:].T @ unit[:, candidates]
    nearest = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(likeness, nearest, axis=1).clip(min=0)
    found[reliability[n_old:] <= _LEAST_RELIABILITY] = 0
    neighbours[:, :k] = candidates[nearest]
    weights[:, :k] = found / np.maximum(found.sum(1, keepdims=True), 1e-12)
    return neighbours, weights


def widen(network: CellBert, placement: Placement) -> CellBert:
    """Return a network that has entries for the new genes already, with the placement in it: more directions."""
    config = deepcopy(network.config)
    n_new, n_further = len(placement.rows), placement.further.shape[1]
    config.n_directions += n_further
    config.n_adapted = getattr(config, "n_adapted", 0) + n_further
    wider = CellBert(config)
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in wider.named_parameters():
            if name != "profile_encoder.directions":
                parameter.copy_(parameters[name])
        encoder: Any = wider.profile_encoder
        old = parameters["profile_encoder.directions"]
        encoder.directions.copy_(torch.cat([old, torch.from_numpy(placement.further)], dim=1))
        if n_new:
            new = np.arange(wider.n_genes - n_new, wider.n_genes)
            _set_genes(encoder, new, placement.rows, placement.centre)
            _copy_tokens(wider, placement)
    return wider.train(network.training)


def _copy_tokens(network: CellBert, placement: Placement) -> None:
    """Give each new gene the mean token of the known genes like it, where there are some."""
    n_new = len(placement.rows)
    used = torch.from_numpy(placement.weights.sum(1) > 0)
    weights = torch.from_numpy(placement.weights).float().unsqueeze(-1)
    places = torch.from_numpy(placement.neighbours)
    tables = [(network.bert.embeddings.word_embeddings.weight, N_SPECIAL), (network.profile_decoder.weight, 0)]
    for table, n_before in tables:
        mean = (table[places + n_before] * weights).sum(1)
        new = table[-n_new:].clone()
        new[used] = mean[used]
        table[-n_new:] = new
