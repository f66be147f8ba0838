"""How much of the vocabulary and of the user's counts was recognised, and the floor below which work stops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.genes import _remedies as remedies
from scflyformer.genes._resolve import spell_out

if TYPE_CHECKING:
    from scflyformer.genes._resolve import Resolution
    from scflyformer.genes._vocabulary import Vocabulary

FLOOR = 0.1
"""Least share of the vocabulary, or of the counts, that must be recognised. Fly data sets reach 0.33 or more of the
one and 0.49 or more of the other against the vocabulary of the shipped model; human and mouse data sets, by names that
happen to agree, at most 0.03 of the one and 0.01 of the other."""
NOTABLE_GAIN = 1.5
"""Other names are worth a word where they resolve this many times more genes."""
NEARLY = 0.9
"""Another column is advised rather than restored capitals where it resolves this share of what they would."""
AMPLE = 0.5
"""Share of the vocabulary from which nothing better is looked for, and share of names and counts below which a warning
is due. Whole fly transcriptomes reach 0.86 or more of the vocabulary of the shipped models, and 0.49 to 0.75 of the
counts."""
MOST_COUNTS = 0.8
"""Share of the counts below which a warning is due where the names are fine and more genes could be read."""


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
        return cls(resolution, vocabulary.n_genes, remedies.n_genes(resolution), float(share))

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

    @property
    def case_explains(self) -> bool:
        """Whether most names, or names for most of the vocabulary, would match if capitals did not count."""
        found = self.resolution
        reach = found.n_case + found.n_mapped
        most = reach >= AMPLE * len(found.index) or reach >= AMPLE * self.n_vocabulary
        return most and found.n_case > 0 and reach >= NOTABLE_GAIN * found.n_mapped

    @property
    def names_poor(self) -> bool:
        """Whether less than half of the names and of the vocabulary fit together.

        A panel holds little of a vocabulary and a whole transcriptome much beside it; neither is wrong.
        """
        found = self.resolution
        return self.share_vocabulary < AMPLE and found.n_mapped < AMPLE * len(found.index)

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
    coverage: Coverage,
    vocabulary: Vocabulary,
    *,
    names: Iterable[object],
    gene_key: str | None,
    others: Mapping[str, Any],
    with_table: bool,
    model: str,
) -> str | None:
    """Stop where too little was recognised.

    Parameters
    ----------
    coverage
        What was recognised.
    vocabulary
        The vocabulary.
    names
        The names.
    gene_key
        The column of `var` that they came from; `None` for `var_names`.
    others
        Further columns with names that could have been used instead: the value of `gene_key` to their names.
    with_table
        Whether a synonym table took part.
    model
        Name of the model, for the line of code that restores capitals.

    Returns
    -------
    A warning where enough was recognised and yet other names would give much more, or where less than half of the names
    and of the vocabulary fit together; else `None`.

    Raises
    ------
    ValueError
        Below the floor; shows examples and says what to do.
    """
    found = coverage.resolution
    if coverage.enough and coverage.share_vocabulary >= AMPLE:
        return None
    place = place_of(gene_key)
    notable = max(NOTABLE_GAIN * max(coverage.n_vocabulary_mapped, 1), FLOOR * coverage.n_vocabulary)
    case = remedies.restored_case(found, vocabulary, gene_key, model)
    given = list(names)
    others_tried = [remedies.other_column(vocabulary, others)]
    others_tried += [tried(given, found, vocabulary, gene_key) for tried in (remedies.stripped, remedies.split)]
    best = max(others_tried, key=lambda remedy: remedy.n_genes)
    if coverage.case_explains and best.n_genes < NEARLY * case.n_genes:
        best = case  # where a column of ids does nearly as well, it is safer than capitals restored
    advice = [best.words] if best.n_genes >= notable else []
    said = f"{remedies.case_words(found)}."
    if coverage.enough:
        if coverage.case_explains:
            advice.insert(0, said)
        return _poor_names(coverage, vocabulary, place, advice)
    shares = f"{coverage.share_vocabulary:.1%} of the model's {coverage.n_vocabulary} genes"
    if not np.isnan(coverage.share_counts):
        shares += f" and {coverage.share_counts:.1%} of the counts"
    species = remedies.other_species(found, vocabulary, remedied=bool(advice))
    if coverage.case_explains:
        raise ValueError(
            f"In {place} {said[:-1]}; {found.n_mapped} are spelt with the model's capitals and match: {shares}. "
            f"Capitals count, since genes can differ by them alone. {' '.join([*advice, species]).strip()}"
        )
    solved = bool(advice) and best.n_genes >= AMPLE * min(coverage.n_vocabulary, len(found.index))
    if species:
        advice.append(species)
    elif not solved:
        advice.append(remedies.perhaps_species(vocabulary, with_table=with_table))
    if not solved and found.n_case + found.n_mapped >= notable:
        advice.append(f"{said} Genes can differ by capitals alone, so these were not taken for the same.")
    examples = _unrecognised(coverage) if solved else _examples(coverage, vocabulary)
    raise ValueError(
        f"{found.n_mapped} of {len(found.index)} names in {place} were recognised, spelt with the model's capitals: "
        f"{shares}; at least {FLOOR:.0%} of either is needed. {examples} {' '.join(advice)}"
    )


def spelling_words(found: Resolution, *, gene_key: str | None) -> str | None:
    """Return a warning where names were read though another program has changed them."""
    n = found.by_stage["spelling"]
    if not n:
        return None
    shown = ", ".join(f"{name!r} as {known!r}" for name, known in found.spellings[:3])
    return (
        f"{n} of {len(found.index)} names in {place_of(gene_key)} are spelt differently from the model's, and each was "
        f"read as the only gene that fits: {shown}. If a column of var holds the original names, pass it as gene_key=."
    )


def low_counts(coverage: Coverage, *, gene_key: str | None) -> str | None:
    """Return a warning where recognised genes hold too little of the counts, though the names are fine."""
    names_fine = coverage.share_vocabulary >= AMPLE
    if not coverage.share_counts < (MOST_COUNTS if names_fine else AMPLE):
        return None
    share = f"{coverage.share_counts:.0%} of your counts"
    if names_fine:
        return (
            f"The model reads {share}. The gene names are not to blame: {coverage.share_vocabulary:.0%} of its "
            f"{coverage.n_vocabulary} genes were found. The other counts lie in genes outside its vocabulary: hold "
            "results against the expression baselines, or have them read by a model that "
            "sf.tl.adapt(adata, out=...) makes from your cells in a minute or less."
        )
    found = coverage.resolution
    return (
        f"The model reads {share}: it knows {found.n_mapped} of {len(found.index)} names in {place_of(gene_key)}. "
        f"{_unrecognised(coverage)} If these are other names of genes that the model knows, pass gene_key= or "
        "set sf.settings.synonyms; genes that it does not know are read by a model that sf.tl.adapt(adata, out=...) "
        "makes."
    )


def place_of(gene_key: str | None) -> str:
    """Return where gene names come from, in words."""
    return "var_names" if gene_key is None else f"var[{gene_key!r}]"


def _poor_names(coverage: Coverage, vocabulary: Vocabulary, place: str, advice: list[str]) -> str | None:
    """Return what to warn of above the floor: few names fit the vocabulary, or others would fit better."""
    found = coverage.resolution
    if not coverage.names_poor:
        shown = f"{found.n_mapped} of {len(found.index)} names in {place} were recognised"
        return f"{shown}. {' '.join(advice)}" if advice else None
    counts = "" if np.isnan(coverage.share_counts) else f", which hold {coverage.share_counts:.0%} of your counts"
    if not advice:
        advice = [
            _examples(coverage, vocabulary),
            "If genes were filtered out (to highly variable ones, say), pass the object with all genes; if names are "
            "of another kind or release, pass gene_key= or set sf.settings.synonyms.",
        ]
    return (
        f"Only {coverage.share_vocabulary:.0%} of the model's {coverage.n_vocabulary} genes were found among the "
        f"{len(found.index)} names in {place}{counts}; nothing else is read. {' '.join(advice)}"
    )


def _examples(coverage: Coverage, vocabulary: Vocabulary) -> str:
    """Show names that were not recognised, and some that would be."""
    known = _some([*vocabulary.gene_ids[:2].tolist(), *map(spell_out, vocabulary.names[:3].tolist())])
    return f"{_unrecognised(coverage)} The model knows names such as {known}."


def _unrecognised(coverage: Coverage) -> str:
    names = _some(coverage.resolution.unresolved)
    return f"Not recognised: {names}." if names else "Every name was recognised; the cells hold no counts in them."


def _some(names: Iterable[str]) -> str:
    return ", ".join(map(repr, list(names)[:5]))
