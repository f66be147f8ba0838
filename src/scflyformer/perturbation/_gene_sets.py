"""Gene sets: as the caller names them, and numbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import N_SPECIAL, PAD

if TYPE_CHECKING:
    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models import Model

Tokens = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class GeneSet:
    """Genes edited together: a name and the tokens.

    Attributes
    ----------
    is_pair
        Whether each gene is also edited by itself, in null sets as well, to tell the interaction of two genes.
    """

    name: str
    tokens: Tokens
    is_pair: bool = False


@dataclass(eq=False)
class SetTable:
    """Different gene sets, numbered; a set that is asked for twice is run once."""

    sets: list[Tokens] = field(default_factory=list)
    number: dict[Tokens, int] = field(default_factory=dict)

    def add(self, tokens: Tokens) -> int:
        """Return the number of a set, new or known."""
        if tokens not in self.number:
            self.number[tokens] = len(self.sets)
            self.sets.append(tokens)
        return self.number[tokens]

    def matrix(self) -> np.ndarray:
        """Return the sets as one matrix, short ones filled with the padding id."""
        out = np.full((len(self.sets), max(map(len, self.sets), default=1)), PAD, dtype=np.int32)
        for row, tokens in enumerate(self.sets):
            out[row, : len(tokens)] = tokens
        return out


def read_gene_sets(
    genes: str | Iterable[str] | Mapping[str, Any], model: Model, table: SynonymTable | None
) -> tuple[list[GeneSet], list[str]]:
    """Return the gene sets in the order asked (a list gives sets of one), and the names that the model does not know.

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
    resolved = resolve_genes(names, model.vocabulary, synonyms=table)
    token = dict(zip(names, (resolved.index + N_SPECIAL).tolist(), strict=True))
    unknown = [name for name in dict.fromkeys(names) if token[name] < N_SPECIAL]
    sets = []
    for name, members in asked.items():
        tokens = dict.fromkeys(token[str(member)] for member in members if token[str(member)] >= N_SPECIAL)
        if tokens:
            sets.append(GeneSet(name, tuple(tokens)))
    if not sets:
        raise ValueError(_none_known(unknown, model.vocabulary, model.name, resolved.case_pairs))
    return sets, unknown


def _none_known(unknown: list[str], vocabulary: Vocabulary, model: str, case_pairs: tuple[tuple[str, str], ...]) -> str:
    near = {name: f"{known!r} for {name!r} (case tells genes apart)" for name, known in case_pairs[:3]}
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
    """Return pairs of genes as sets of two, named by both; ``sets`` are the other sets asked for.

    Raises
    ------
    ValueError
        When a pair is not two different genes that the model knows, or has the name of a set.
    """
    read = [_read_pair(pair, model, table) for pair in pairs]
    different = list({frozenset(pair.tokens): pair for pair in reversed(read)}.values())[::-1]
    if twice := {pair.name for pair in different} & {gene_set.name for gene_set in sets}:
        raise ValueError(f"genes holds the pair {sorted(twice)[0]} and a set of that name; name the set otherwise.")
    return different


def _read_pair(pair: Sequence[str], model: Model, table: SynonymTable | None) -> GeneSet:
    names = [pair] if isinstance(pair, str) else [str(name) for name in pair]
    index = resolve_genes(names, model.vocabulary, synonyms=table).index + N_SPECIAL
    if len(names) != 2 or (index < N_SPECIAL).any() or index[0] == index[1]:
        unknown = [name for name, token in zip(names, index, strict=True) if token < N_SPECIAL]
        raise ValueError(
            f"genes holds the pair {names}; expected two different genes that model {model.name!r} knows"
            + (f" (not known: {', '.join(unknown)})." if unknown else ".")
        )
    return GeneSet("+".join(names), (int(index[0]), int(index[1])), is_pair=True)


def sets_of_one(tokens: np.ndarray, names: np.ndarray) -> list[GeneSet]:
    """Return each gene as a set of its own, named by its name among those of the vocabulary."""
    return [GeneSet(str(names[token - N_SPECIAL]), (int(token),)) for token in tokens]


def distinct_names(vocabulary: Vocabulary) -> np.ndarray:
    """Return the name of each gene, its id where genes share a name."""
    names, counts = np.unique(vocabulary.names, return_counts=True)
    shared = np.isin(vocabulary.names, names[counts > 1])
    return np.where(shared, vocabulary.gene_ids, vocabulary.names).astype(object)


def join_names(names: np.ndarray, tokens: Tokens) -> str:
    """Return the names of a set's genes, joined by ``+``."""
    return "+".join(str(names[token - N_SPECIAL]) for token in tokens)
