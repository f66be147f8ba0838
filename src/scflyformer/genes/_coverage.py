"""How much of the vocabulary and of the user's counts was recognised, and the floor below which work stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.genes._resolve import resolve_genes

if TYPE_CHECKING:
    from scflyformer.genes._resolve import Resolution
    from scflyformer.genes._vocabulary import Vocabulary

FLOOR = 0.1
"""Least share of the vocabulary, or of the counts, that must be recognised. Fly data sets reach 0.33 or more of the
one and 0.49 or more of the other against the vocabulary of the shipped model; human and mouse data sets, by names that
happen to agree, at most 0.03 of the one and 0.01 of the other."""
NOTABLE_GAIN = 1.5
"""Another column, or ignoring case, is worth a word where it recognises this many times more names."""


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
        mapped = np.unique(resolution.index[resolution.index >= 0])
        share = counts_mapped / counts if counts > 0 else float("nan")
        return cls(resolution, vocabulary.n_genes, len(mapped), float(share))

    @property
    def share_vocabulary(self) -> float:
        """Share of the vocabulary that the data measured."""
        return self.n_vocabulary_mapped / max(self.n_vocabulary, 1)

    @property
    def enough(self) -> bool:
        """Whether the data clears :data:`FLOOR`.

        Either share suffices: a small panel holds little of the vocabulary and a whole transcriptome holds much that
        lies outside it.
        """
        shares = [self.share_vocabulary, self.share_counts]
        return self.n_vocabulary_mapped > 0 and np.nanmax(shares) >= FLOOR

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
    Advice where enough was recognised and yet another place or a change of case would give much more, else `None`.

    Raises
    ------
    ValueError
        Below the floor; shows examples and says what to do.
    """
    found = coverage.resolution
    n_names = len(found.index)
    if coverage.enough and found.n_mapped == n_names:
        return None
    remedies = _remedies(found, vocabulary, others)
    if coverage.enough:
        gains = [text for gain, text in remedies if gain >= NOTABLE_GAIN * found.n_mapped]
        return f"{found.n_mapped} of {n_names} names of {column} were recognised. {' '.join(gains)}" if gains else None
    counts = "" if np.isnan(coverage.share_counts) else f" and hold {coverage.share_counts:.1%} of the counts"
    examples = ", ".join(map(repr, found.unresolved[:5]))
    known = ", ".join(map(repr, [*vocabulary.gene_ids[:2].tolist(), *vocabulary.symbols[:3].tolist()]))
    advice = [text for gain, text in remedies if gain > found.n_mapped]
    if not advice:
        advice.append(
            "Is this the species that the model was trained on? If not, choose another model, or train one with "
            "tl.pretrain."
        )
        if not with_table:
            advice.append(
                "If it is, the names may be older than the model's: pass synonyms= the path of a FlyBase "
                "fb_synonym_fb_YYYY_MM.tsv.gz (or 'flybase' to fetch it)."
            )
    raise ValueError(
        f"{found.n_mapped} of {n_names} names of {column} were recognised; they make up "
        f"{coverage.share_vocabulary:.1%} of the model's {coverage.n_vocabulary} genes{counts}, and {FLOOR:.0%} of either "
        f"is needed. Not recognised: {examples}. The model knows names such as {known}. {' '.join(advice)}"
    )


def _remedies(found: Resolution, vocabulary: Vocabulary, others: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return what else could be done, best first: (names recognised then, advice)."""
    remedies = []
    for key, names in others.items():
        names = list(names)
        gain = resolve_genes(names, vocabulary).n_mapped
        remedies.append((gain, f"var[{key!r}] resolves {gain / max(len(names), 1):.0%}: pass gene_key={key!r}."))
    if found.n_case:
        pairs = ", ".join(f"{name!r} for {known!r}" for name, known in found.case_pairs[:3])
        text = (
            f"{found.n_case} names differ from known ones by case only ({pairs}): case tells fly genes apart, so "
            "restore the original names; if they were never fly genes, this is the wrong species."
        )
        remedies.append((found.n_case + found.n_mapped, text))
    return sorted(remedies, key=lambda remedy: -remedy[0])
