"""What a perturbation run is asked to do: gene sets, and groups of start and goal cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._columns import text_of
from scflyformer.data._states import State
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._scan import GeneSet

if TYPE_CHECKING:
    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models import Model


@dataclass(frozen=True, eq=False)
class Group:
    """Cells that are compared with each other.

    Attributes
    ----------
    name
        Value of the grouping column, or ``"all"``.
    start
        All its start cells, positions in `obs`.
    pool
        Those among them that are perturbed.
    goal
        Its goal cells.
    alt
        Its cells of each alternative state.
    """

    name: str
    start: np.ndarray
    pool: np.ndarray
    goal: np.ndarray
    alt: list[np.ndarray]


def read_gene_sets(
    genes: str | Iterable[str] | Mapping[str, Any], model: Model, table: SynonymTable | None
) -> tuple[list[GeneSet], list[str]]:
    """Resolve what the caller asked for.

    Returns
    -------
    The gene sets in the order asked (a list gives sets of one), and the names that are not in the vocabulary.

    Raises
    ------
    ValueError
        When no gene is asked for, or none is known to the model.
    TypeError
        When ``genes`` is neither names nor a mapping to names.
    """
    if isinstance(genes, str):
        genes = [genes]
    if isinstance(genes, Mapping):
        asked = {str(name): [members] if isinstance(members, str) else list(members) for name, members in genes.items()}
    elif isinstance(genes, Iterable):
        asked = {str(name): [name] for name in genes}
    else:
        raise TypeError(f"genes is a {type(genes).__name__}; expected a list of names, or a dict of name to list.")
    names = [str(member) for members in asked.values() for member in members]
    if not names:
        raise ValueError("genes is empty; give a list of gene names, or a dict of set name to list of gene names.")
    found = resolve_genes(names, model.vocabulary, synonyms=table)
    token = dict(zip(names, (found.index + N_SPECIAL).tolist(), strict=True))
    unknown = [name for name in dict.fromkeys(names) if token[name] < N_SPECIAL]
    sets = []
    for name, members in asked.items():
        tokens = dict.fromkeys(token[str(member)] for member in members if token[str(member)] >= N_SPECIAL)
        if tokens:
            sets.append(GeneSet(name, tuple(tokens)))
    if not sets:
        raise ValueError(_none_known(unknown, model.vocabulary, model.name, found.case_pairs))
    return sets, unknown


def _none_known(unknown: list[str], vocabulary: Vocabulary, model: str, pairs: tuple[tuple[str, str], ...]) -> str:
    near = {name: f"{known!r} for {name!r} (case tells genes apart)" for name, known in pairs[:3]}
    for name in unknown[:3]:
        if name not in near and (match := near_name(name, vocabulary)):
            near[name] = f"{match!r} for {name!r}"
    common = ", ".join(map(repr, vocabulary.names[np.argsort(-vocabulary.n_cells, kind="stable")[:3]].tolist()))
    return (
        f"None of the {len(unknown)} gene(s) asked for is known to model {model!r}: "
        f"{', '.join(map(repr, unknown[:5]))}. It knows {vocabulary.n_genes} genes, such as {common}; others can be "
        "added with sf.tl.adapt." + (f" Did you mean {', '.join(near.values())}?" if near else "")
    )


def near_name(name: str, vocabulary: Vocabulary) -> str:
    """Return the name of a vocabulary gene that is spelt much alike, else an empty text."""
    folded = {known.casefold(): known for known in vocabulary.names.tolist()}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.85)  # 'Gad1' is not meant by who types 'Gapdh1'
    return folded[near[0]] if near else ""


def read_pairs(
    pairs: Iterable[Sequence[str]], sets: list[GeneSet], model: Model, table: SynonymTable | None
) -> list[GeneSet]:
    """Return pairs of genes as sets of two, named by both.

    Parameters
    ----------
    pairs
        Pairs of names.
    sets
        The gene sets asked for.
    model, table
        As for :func:`read_gene_sets`.

    Raises
    ------
    ValueError
        When a pair is not two different genes that the model knows.
    """
    found = [_read_pair(pair, model, table) for pair in pairs]
    found = list({frozenset(one.tokens): one for one in reversed(found)}.values())[::-1]
    if twice := {one.name for one in found} & {one.name for one in sets}:
        raise ValueError(f"genes holds the pair {sorted(twice)[0]} and a set of that name; name the set otherwise.")
    return found


def _read_pair(pair: Sequence[str], model: Model, table: SynonymTable | None) -> GeneSet:
    names = [pair] if isinstance(pair, str) else [str(name) for name in pair]
    index = resolve_genes(names, model.vocabulary, synonyms=table).index + N_SPECIAL
    if len(names) != 2 or (index < N_SPECIAL).any() or index[0] == index[1]:
        unknown = [name for name, token in zip(names, index, strict=True) if token < N_SPECIAL]
        raise ValueError(
            f"genes holds the pair {names}; expected two different genes that model {model.name!r} knows"
            + (f" (not known: {', '.join(unknown)})." if unknown else ".")
        )
    return GeneSet("+".join(names), (int(index[0]), int(index[1])))


def plan_groups(
    start: State,
    goal: State,
    alt: list[State],
    usable: np.ndarray,
    groups: pd.Series | None,
    *,
    samples: np.ndarray,
    names: np.ndarray,
    max_cells: int | None,
    seed: int,
) -> tuple[list[Group], list[str]]:
    """Split cells into groups and choose the start cells to perturb.

    Returns
    -------
    The groups that hold start and goal cells, in the order of their names, and the names of those that do not.
    """
    if groups is None:
        codes = np.zeros(len(usable), dtype=np.int64)
        labels = ["all"]
    else:
        factor = pd.Categorical(groups)
        codes, labels = factor.codes, [text_of(label) for label in factor.categories]
    kept, skipped = [], []
    for code, label in enumerate(labels):
        inside = usable & (codes == code)
        first, last = np.flatnonzero(inside & start.cells), np.flatnonzero(inside & goal.cells)
        if len(first) and len(last):
            others = [np.flatnonzero(inside & state.cells) for state in alt]
            pool = choose_cells(first, names, samples, max_cells=max_cells, seed=seed)
            kept.append(Group(label, first, pool, last, others))
        elif (codes == code).any():
            skipped.append(label)
    return kept, skipped


def choose_cells(
    cells: np.ndarray, names: np.ndarray, samples: np.ndarray, *, max_cells: int | None, seed: int
) -> np.ndarray:
    """Draw at most ``max_cells`` cells, as evenly over samples as they allow, whatever the order of the cells."""
    if max_cells is None or len(cells) <= max_cells:
        return cells
    order = np.argsort(names[cells].astype(str), kind="stable")
    chance = np.empty(len(cells))
    chance[order] = np.random.default_rng(seed).random(len(cells))
    _, code = np.unique(samples[cells], return_inverse=True)
    by_sample = np.lexsort((chance, code))
    turn = np.empty(len(cells), dtype=np.int64)
    first = np.searchsorted(code[by_sample], code[by_sample], side="left")
    turn[by_sample] = np.arange(len(cells)) - first
    return np.sort(cells[np.lexsort((chance, turn))[:max_cells]])
