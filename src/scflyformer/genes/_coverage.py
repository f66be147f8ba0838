"""How much of the vocabulary and of the user's counts was recognised, and the floor below which work stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.genes._resolve import FLY, resolve_genes, species_of, spell_out

if TYPE_CHECKING:
    from scflyformer.genes._resolve import Resolution
    from scflyformer.genes._vocabulary import Vocabulary

FLOOR = 0.1
"""Least share of the vocabulary, or of the counts, that must be recognised. Fly data sets reach 0.33 or more of the
one and 0.49 or more of the other against the vocabulary of the shipped model; human and mouse data sets, by names that
happen to agree, at most 0.03 of the one and 0.01 of the other."""
NOTABLE_GAIN = 1.5
"""Other names are worth a word where they resolve this many times more genes."""
AMPLE = 0.5
"""Share of the vocabulary from which nothing better is looked for."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """What was recognised.

    Attributes
    ----------
    resolution
        What became of each name.
    n_vocabulary
        Genes of the vocabulary.
    n_vocabulary_mapped
        Genes of the vocabulary that the data measured.
    share_counts
        Share of all expression (on the linear scale) that lies in recognised genes; NaN where there is none at all.
    """

    resolution: Resolution
    n_vocabulary: int
    n_vocabulary_mapped: int
    share_counts: float

    @classmethod
    def of(cls, resolution: Resolution, vocabulary: Vocabulary, *, counts_mapped: float, counts: float) -> Coverage:
        """Sum up a resolution, given the sum of the expression in recognised genes and in all genes."""
        share = counts_mapped / counts if counts > 0 else float("nan")
        return cls(resolution, vocabulary.n_genes, _n_genes(resolution), float(share))

    @property
    def share_vocabulary(self) -> float:
        """Share of the vocabulary that the data measured."""
        return self.n_vocabulary_mapped / max(self.n_vocabulary, 1)

    @property
    def enough(self) -> bool:
        """Whether the data clears :data:`FLOOR`, and the names have kept their case.

        Either share suffices: a small panel holds little of the vocabulary and a whole transcriptome holds much that
        lies outside it.
        """
        shares = [self.share_vocabulary, self.share_counts]
        return self.n_vocabulary_mapped > 0 and np.nanmax(shares) >= FLOOR and not self.lost_case

    @property
    def lost_case(self) -> bool:
        """Whether more names miss a vocabulary gene by case alone than match one: those that match then do so by luck.

        In fly data sets as they are published, at most one name in a hundred matched does.
        """
        return self.resolution.n_case > self.resolution.n_mapped

    def report(self) -> dict[str, Any]:
        """Return the figures as plain numbers and text, fit for `uns`."""
        found = self.resolution
        return {
            "n_genes": len(found.index),
            "n_genes_mapped": found.n_mapped,
            **{f"n_by_{stage}": count for stage, count in found.by_stage.items()},
            "n_ambiguous": found.n_ambiguous,
            "n_collapsed": found.n_duplicates,
            "n_vocabulary": self.n_vocabulary,
            "n_vocabulary_mapped": self.n_vocabulary_mapped,
            "share_vocabulary": round(self.share_vocabulary, 6),
            "share_counts": round(self.share_counts, 6),
            "unmapped_examples": ", ".join(found.unresolved),
        }

    def __str__(self) -> str:
        """Return one line for the log."""
        found = self.resolution
        ways = ", ".join(f"{count} by {stage}" for stage, count in found.by_stage.items() if count)
        counts = "" if np.isnan(self.share_counts) else f", {self.share_counts:.1%} of the counts"
        text = (
            f"{found.n_mapped} of {len(found.index)} genes recognised ({ways or 'none'}): "
            f"{self.share_vocabulary:.1%} of the model's {self.n_vocabulary} genes{counts}"
        )
        if found.n_duplicates:
            text += f"; {found.n_duplicates} further names of the same genes were added up"
        if found.n_ambiguous:
            text += f"; {found.n_ambiguous} left out as synonyms of two genes ({', '.join(found.ambiguous[:3])})"
        return text


def require_coverage(
    coverage: Coverage, vocabulary: Vocabulary, *, column: str, others: Mapping[str, Any], with_table: bool
) -> str | None:
    """Stop where too little was recognised.

    Parameters
    ----------
    coverage
        What was recognised.
    vocabulary
        The vocabulary.
    column
        Where the names came from, in words: ``"var_names"`` or ``"var['FBgn']"``.
    others
        Further places with names that could have been used instead: the value of `gene_key` to their names.
    with_table
        Whether a synonym table took part.

    Returns
    -------
    Advice where enough was recognised and yet another place, or names in their proper case, would give much more;
    else `None`.

    Raises
    ------
    ValueError
        Below the floor; shows examples and says what to do.
    """
    found = coverage.resolution
    if coverage.enough and coverage.share_vocabulary >= AMPLE:
        return None
    best_key, gain = _best_column(vocabulary, others)
    notable = NOTABLE_GAIN * max(coverage.n_vocabulary_mapped, 1)
    advice = []
    if gain >= max(notable, FLOOR * coverage.n_vocabulary):
        share = gain / max(coverage.n_vocabulary, 1)
        advice.append(f"var[{best_key!r}] resolves {share:.0%} of the model's genes: pass gene_key={best_key!r}.")
    elif found.n_case and found.n_case + found.n_mapped >= notable:
        pairs = ", ".join(f"{name!r} for {known!r}" for name, known in found.case_pairs[:3])
        advice.append(
            f"{found.n_case} names differ from the model's by case only ({pairs}). Case tells genes apart and is kept: "
            "if these are the same genes, restore the names as the model has them."
        )
    shown = f"{found.n_mapped} of {len(found.index)} names in {column} were recognised"
    if coverage.enough:
        return f"{shown}. {' '.join(advice)}" if advice else None
    if not advice or gain < notable:
        advice.append(_species_advice(found, vocabulary, with_table=with_table))
    counts = "" if np.isnan(coverage.share_counts) else f" and {coverage.share_counts:.1%} of the counts"
    needed = f"at least {FLOOR:.0%} of either is needed, in the model's case"
    known = ", ".join(map(repr, [*vocabulary.gene_ids[:2].tolist(), *map(spell_out, vocabulary.names[:3].tolist())]))
    raise ValueError(
        f"{shown}: {coverage.share_vocabulary:.1%} of the model's {coverage.n_vocabulary} genes{counts}; {needed}. "
        f"Not recognised: {', '.join(map(repr, found.unresolved[:5]))}. The model "
        f"knows names such as {known}. {' '.join(advice)}"
    )


def _best_column(vocabulary: Vocabulary, others: Mapping[str, Any]) -> tuple[str, int]:
    """Return the place whose names resolve most vocabulary genes, and how many."""
    gains = {key: _n_genes(resolve_genes(names, vocabulary)) for key, names in others.items()}
    return max(gains.items(), key=lambda item: item[1], default=("", 0))


def _n_genes(found: Resolution) -> int:
    """Count the vocabulary genes that names resolve to."""
    return found.n_mapped - found.n_duplicates


def _species_advice(found: Resolution, vocabulary: Vocabulary, *, with_table: bool) -> str:
    """Say that the species may be wrong, with its name where the ids tell, and what to do where it is right."""
    mine, models = species_of(found.unresolved), species_of(vocabulary.gene_ids[:50].tolist())
    if mine and mine != models:
        theirs = f", the model's are {models}" if models else ""
        return f"These ids are {mine}{theirs}: choose a model of that species, or train one with tl.pretrain."
    advice = "Is this the species that the model was trained on? If not, choose another model or use tl.pretrain."
    if not with_table:
        table = (
            "a FlyBase fb_synonym_fb_YYYY_MM.tsv.gz, or synonyms='flybase' to fetch it"
            if models in ("", FLY)
            else "a table of name, tab, gene id"
        )
        advice += f" If it is, the names may be older or newer than the model's: pass synonyms= the path of {table}."
    return advice
