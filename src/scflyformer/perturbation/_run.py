"""A perturbation run: all edited copies go through the network in one stream and are read off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.perturbation._copies import Edits, Mean, read_copies
from scflyformer.perturbation._shift import state_cosines

if TYPE_CHECKING:
    from scflyformer.network._infer import Pooling
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._make_readouts import Probes
    from scflyformer.perturbation._scan import Scan, Shifts
    from scflyformer.tokens._rows import TokenRows

_NOISE_CELLS = 16


@dataclass(frozen=True, eq=False)
class Found:
    """What came out of a scan.

    Attributes
    ----------
    shifts
        For each group: number of a set → what was read off its cells.
    labels
        Mean shift over sample means towards the goal and each permuted goal, shape (n_slots, 1 + n_permutations),
        in the slots of the scan; `None` without.
    moves
        Mean move over sample means of the cell token, shape (n_slots, hidden size); likewise.
    """

    shifts: list[dict[int, Shifts]]
    labels: np.ndarray | None
    moves: np.ndarray | None


def run_scan(
    network: CellBert,
    rows: TokenRows,
    vectors: np.ndarray,
    scan: Scan,
    samples: np.ndarray,
    probes: Probes,
    *,
    kind: Kind,
    dose: float,
    pooling: Pooling,
    checkpoint: Checkpoint | None,
    progress: Callable[..., Any],
    **run: Any,
) -> Found:
    """Perturb every gene set in every group, and null sets beside it.

    Parameters
    ----------
    network
        The network.
    rows, vectors
        All cells, ranked and embedded; those of ``scan.cells`` are used.
    scan
        Where and what to perturb.
    samples
        Sample of each cell; the same everywhere where there are none.
    probes
        What is read off.
    kind, dose, pooling
        The edit, the pooling.
    checkpoint
        Where what is done is kept.
    progress
        Makes the bar, called as ``progress(total=..., desc=..., unit=...)``.
    run
        ``device``, ``dtype`` and ``batch_tokens``.
    """
    weight = sample_weights(scan.slot, samples[scan.cells][scan.pairs[0]])
    averaged = [readout for readout in (probes.labels, probes.token) if readout is not None]
    edits = Edits(scan.table.matrix(), *scan.pairs, kind, dose)
    with progress(total=len(scan.pairs[0]), desc=f"{kind} genes", unit="copy") as bar:
        values, means = read_copies(
            network, rows.take(scan.cells), edits, vectors=vectors[scan.cells], pooling=pooling,
            readouts=probes.readouts, means=[Mean(readout, scan.slot, weight) for readout in averaged],
            checkpoint=checkpoint, bar=bar, **run,
        )  # fmt: skip
    labels = None if probes.labels is None else means.pop(0)
    moves = None if probes.token is None else means.pop(0)
    towards = values[0]
    shifts = scan.by_set(np.column_stack([*values, towards[:, 0] - towards[:, 1]]))
    return Found(shifts, labels, moves)


def sample_weights(slot: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the weight of each copy in its slot's mean over sample means, float64, shape (n_pairs,)."""
    _, code = np.unique(samples.astype(str), return_inverse=True)
    keys, place, size = np.unique(slot * (code.max(initial=0) + 1) + code, return_inverse=True, return_counts=True)
    n_samples = np.bincount(keys // (code.max(initial=0) + 1))
    return 1 / (size[place] * n_samples[slot])


def noise_floor(
    network: CellBert,
    rows: TokenRows,
    vectors: np.ndarray,
    pool: np.ndarray,
    goal: np.ndarray,
    *,
    pooling: Pooling,
    **run: Any,
) -> float:
    """Return how far a cell that nothing was done to moves towards the goal, at most, when it is embedded alone.

    Parameters
    ----------
    network, rows, vectors
        As for :func:`run_scan`.
    pool
        The cells that are perturbed; few of them are tried.
    goal
        Centroid of the goal, shape (width,).
    """
    from scflyformer.network._infer import embed_rows

    some = pool[np.linspace(0, len(pool) - 1, min(len(pool), _NOISE_CELLS)).astype(int)]
    alone = np.concatenate([embed_rows(network, rows.take(np.array([cell])), pooling=pooling, **run) for cell in some])
    which = np.zeros((len(some), 1), dtype=np.int64)
    again, before = (state_cosines(part, goal[None], which) for part in (alone, vectors[some]))
    return float(np.nanmax(np.abs(again - before)))
