"""How much of the vocabulary and of the user's counts was recognised, and the floor below which work stops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer._words import some_names
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
MORE = 1.02
"""Where most genes are recognised, another column is worth a word if it resolves this many times as many."""
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
    """What was recognised."""

    resolution: Resolution
    n_vocabulary: int  # genes of the vocabulary
    n_vocabulary_mapped: int  # those that the data measured
    share_counts: float
    """Share of all expression (on the linear scale) that lies in recognised genes; NaN where there is none at all."""

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
        resolution = self.resolution
        n_without_case = resolution.n_case + resolution.n_mapped
        most = n_without_case >= AMPLE * len(resolution.index) or n_without_case >= AMPLE * self.n_vocabulary
        return most and resolution.n_case > 0 and n_without_case >= NOTABLE_GAIN * resolution.n_mapped

    @property
    def names_poor(self) -> bool:
        """Whether less than half of the names and of the vocabulary fit together.

        A panel holds little of a vocabulary and a whole transcriptome much beside it; neither is wrong.
        """
        resolution = self.resolution
        return self.share_vocabulary < AMPLE and resolution.n_mapped < AMPLE * len(resolution.index)

    def report(self) -> dict[str, Any]:
        """Return the figures as plain numbers and text, fit for `uns`."""
        resolution = self.resolution
        return {
            "n_genes": len(resolution.index),
            "n_genes_mapped": resolution.n_mapped,
            **{f"n_by_{stage}": count for stage, count in resolution.by_stage.items()},
            "n_ambiguous": resolution.n_ambiguous,
            "n_collapsed": resolution.n_duplicates,
            "n_vocabulary": self.n_vocabulary,
            "n_vocabulary_mapped": self.n_vocabulary_mapped,
            "share_vocabulary": round(self.share_vocabulary, 6),
            "share_counts": round(self.share_counts, 6),
            "unmapped_examples": ", ".join(resolution.unresolved),
        }

    def __str__(self) -> str:
        """Return one line for the log."""
        resolution = self.resolution
        ways = ", ".join(f"{count} by {stage}" for stage, count in resolution.by_stage.items() if count)
        counts = "" if np.isnan(self.share_counts) else f", {self.share_counts:.1%} of the counts"
        text = (
            f"{resolution.n_mapped} of {len(resolution.index)} genes recognised ({ways or 'none'}): "
            f"{self.share_vocabulary:.1%} of the model's {self.n_vocabulary} genes{counts}"
        )
        if resolution.n_duplicates:
            text += f"; {resolution.n_duplicates} further names of the same genes were added up"
        if resolution.n_ambiguous:
            examples = ", ".join(resolution.ambiguous[:3])
            text += f"; {resolution.n_ambiguous} left out as synonyms of two genes ({examples})"
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
    """Return a warning where enough was recognised but other names would give much more; an error below the floor.

    Less than half of names and vocabulary fitting together is a warning, too. ``others`` are further columns of `var`
    with names, ``with_table`` says whether a synonym table took part, and ``model`` stands in the line of code that
    restores capitals. The error shows examples and says what to do.
    """
    resolution = coverage.resolution
    place = place_of(gene_key)
    if coverage.enough and coverage.share_vocabulary >= AMPLE:
        best = remedies.column_of_ids(vocabulary, others)
        if best.n_genes < MORE * coverage.n_vocabulary_mapped:
            return None
        return f"{place} resolves {coverage.share_vocabulary:.0%} of the model's genes. {best.words}"
    notable = max(NOTABLE_GAIN * max(coverage.n_vocabulary_mapped, 1), FLOOR * coverage.n_vocabulary)
    case = remedies.restored_case(resolution, vocabulary, gene_key, model)
    given = list(names)
    others_tried = [remedies.other_column(vocabulary, others)]
    others_tried += [tried(given, resolution, vocabulary, gene_key) for tried in (remedies.stripped, remedies.split)]
    best = max(others_tried, key=lambda remedy: remedy.n_genes)
    if coverage.case_explains and best.n_genes < NEARLY * case.n_genes:
        best = case  # where a column of ids does nearly as well, it is safer than capitals restored
    advice = [best.words] if best.n_genes >= notable else []
    about_case = f"{remedies.case_words(resolution)}."
    if coverage.enough:
        if coverage.case_explains:
            advice.insert(0, about_case)
        return _poor_names(coverage, vocabulary, place, advice)
    shares = f"{coverage.share_vocabulary:.1%} of the model's {coverage.n_vocabulary} genes"
    if not np.isnan(coverage.share_counts):
        shares += f" and {coverage.share_counts:.1%} of the counts"
    species = remedies.other_species(resolution, vocabulary, remedied=bool(advice))
    if coverage.case_explains:
        raise ValueError(
            f"In {place} {about_case[:-1]}; {resolution.n_mapped} are spelt with the model's capitals and match: "
            f"{shares}. Capitals count, since genes can differ by them alone. {' '.join([*advice, species]).strip()}"
        )
    solved = bool(advice) and best.n_genes >= AMPLE * min(coverage.n_vocabulary, len(resolution.index))
    if species:
        advice.append(species)
    elif not solved:
        advice.append(remedies.perhaps_species(vocabulary, with_table=with_table))
    if not solved and resolution.n_case + resolution.n_mapped >= notable:
        advice.append(f"{about_case} Genes can differ by capitals alone, so these were not taken for the same.")
    examples = _unrecognised(coverage) if solved else _examples(coverage, vocabulary)
    raise ValueError(
        f"{resolution.n_mapped} of {len(resolution.index)} names in {place} were recognised, spelt with the model's "
        f"capitals: {shares}; at least {FLOOR:.0%} of either is needed. {examples} {' '.join(advice)}"
    )


def spelling_words(resolution: Resolution, *, gene_key: str | None) -> str | None:
    """Return a warning where names were read though another program has changed them."""
    n = resolution.by_stage["spelling"]
    if not n:
        return None
    shown = ", ".join(f"{name!r} as {known!r}" for name, known in resolution.spellings[:3])
    return (
        f"{n} of {len(resolution.index)} names in {place_of(gene_key)} are spelt differently from the model's, and "
        f"each was read as the only gene that fits: {shown}. If a column of var holds the original names, pass it as "
        "gene_key=."
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
    resolution = coverage.resolution
    return (
        f"The model reads {share}: it knows {resolution.n_mapped} of {len(resolution.index)} names in "
        f"{place_of(gene_key)}. {_unrecognised(coverage)} If these are other names of genes that the model knows, pass "
        "gene_key= or set sf.settings.synonyms; genes that it does not know are read by a model that "
        "sf.tl.adapt(adata, out=...) makes."
    )


def place_of(gene_key: str | None) -> str:
    """Return where gene names come from, in words."""
    return "var_names" if gene_key is None else f"var[{gene_key!r}]"


def _poor_names(coverage: Coverage, vocabulary: Vocabulary, place: str, advice: list[str]) -> str | None:
    """Return what to warn of above the floor: few names fit the vocabulary, or others would fit better."""
    resolution = coverage.resolution
    if not coverage.names_poor:
        shown = f"{resolution.n_mapped} of {len(resolution.index)} names in {place} were recognised"
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
        f"{len(resolution.index)} names in {place}{counts}; nothing else is read. {' '.join(advice)}"
    )


def _examples(coverage: Coverage, vocabulary: Vocabulary) -> str:
    """Show names that were not recognised, and some that would be."""
    known = some_names([*vocabulary.gene_ids[:2].tolist(), *map(spell_out, vocabulary.names[:3].tolist())])
    return f"{_unrecognised(coverage)} The model knows names such as {known}."


def _unrecognised(coverage: Coverage) -> str:
    unresolved = coverage.resolution.unresolved[:5]
    if not unresolved:
        return "Every name was recognised; the cells hold no counts in them."
    return f"Not recognised: {some_names(unresolved)}."
