"""What to do where few names are recognised: another column, an end to strip, capitals to restore, another species."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.genes._resolve import FLY, resolve_genes, species_of
from scflyformer.genes._spelling import SEPARATORS, as_words

if TYPE_CHECKING:
    from scflyformer.genes._resolve import Resolution
    from scflyformer.genes._vocabulary import Vocabulary

_VERSION = r"\.\d+$"
_FIRST, _LAST = re.compile(r"^[^\W_]+[\W_]+(?=.)"), re.compile(r"(?<=.)[\W_]+[^\W_]+$")
"""What stands before and behind a name: letters or digits and what sets them apart from it."""


@dataclass(frozen=True)
class Remedy:
    """Something that would make names match."""

    n_genes: int  # of the vocabulary, that would then be recognised
    words: str  # what to do


def n_genes(resolution: Resolution) -> int:
    """Count the vocabulary genes that names resolve to."""
    return resolution.n_mapped - resolution.n_duplicates


def other_column(vocabulary: Vocabulary, others: Mapping[str, Any]) -> Remedy:
    """Return the column of `var` whose names resolve most genes."""
    return _best_column({key: n_genes(resolve_genes(names, vocabulary)) for key, names in others.items()}, vocabulary)


def column_of_ids(vocabulary: Vocabulary, others: Mapping[str, Any]) -> Remedy:
    """Return the column of `var` that holds most ids of the vocabulary; far quicker than :func:`other_column`."""
    ids = set(vocabulary.gene_ids)
    return _best_column({key: len(ids.intersection(names)) for key, names in others.items()}, vocabulary)


def _best_column(gains: dict[str, int], vocabulary: Vocabulary) -> Remedy:
    key, gain = max(gains.items(), key=lambda item: item[1], default=("", 0))
    share = gain / max(vocabulary.n_genes, 1)
    return Remedy(gain, f"var[{key!r}] resolves {share:.0%} of the model's genes: pass gene_key={key!r}.")


def stripped(names: Iterable[object], resolution: Resolution, vocabulary: Vocabulary, gene_key: str | None) -> Remedy:
    """Return what a version number, or something that most names begin or end with, hides when it is taken off."""
    words = [word or "" for word in as_words(names)]
    unmatched = [word for word, gene in zip(words, resolution.index.tolist(), strict=True) if gene < 0]
    best = Remedy(0, "")
    for pattern in _ends(unmatched):
        bare = resolve_genes([re.sub(pattern, "", word) for word in words], vocabulary)
        gain = n_genes(bare)
        if gain > max(best.n_genes, n_genes(resolution)):
            example = words[int(np.flatnonzero((bare.index >= 0) & (resolution.index < 0))[0])]
            series = _series(gene_key)
            text = series if gene_key is None else f"{series}.astype(str)"
            best = Remedy(
                gain,
                f"{example!r} would be recognised without {_end_words(pattern, example)}; so would names for "
                f"{gain / max(vocabulary.n_genes, 1):.0%} of the model's genes: "
                f'{series} = {text}.str.replace(r"{pattern}", "", regex=True)',
            )
    return best


def split(names: Iterable[object], resolution: Resolution, vocabulary: Vocabulary, gene_key: str | None) -> Remedy:
    """Return which part of names that are joined of several resolves most genes."""
    words = [word or "" for word in as_words(names)]
    best = Remedy(0, "")
    for separator in SEPARATORS:
        pieces = [re.split(separator, word) for word in words]
        joined = [place for place, parts in enumerate(pieces) if len(parts) > 1]
        if 2 * len(joined) <= len(words):
            continue
        for at in (0, -1):
            gain = n_genes(resolve_genes([parts[at] for parts in pieces], vocabulary))
            if gain > max(best.n_genes, n_genes(resolution)):
                series = _series(gene_key)
                best = Remedy(
                    gain,
                    f"One part of names such as {words[joined[0]]!r} resolves {gain / max(vocabulary.n_genes, 1):.0%} "
                    f'of the model\'s genes: {series} = {series}.astype(str).str.split(r"{separator}").str[{at}]',
                )
    return best


def restored_case(resolution: Resolution, vocabulary: Vocabulary, gene_key: str | None, model: str) -> Remedy:
    """Return how many genes names would match if capitals did not count, and the line that restores them."""
    ids = set(vocabulary.gene_ids.tolist())
    n_ids = sum(known in ids for _, known in resolution.case_pairs)
    which = "gene_ids" if 2 * n_ids > len(resolution.case_pairs) else "names"
    series = _series(gene_key)
    line = (
        f"known = {{n.casefold(): n for n in sf.models.load({model!r}).vocabulary.{which}.tolist()}}; "
        f"{series} = [known.get(str(n).casefold(), n) for n in {series}]"
    )
    words = f"Take the names from the file they came from, or, where no two of them differ by capitals alone: {line}"
    return Remedy(min(resolution.n_case + n_genes(resolution), vocabulary.n_genes), words)


def case_words(resolution: Resolution) -> str:
    """Say how many names differ by capitals alone, with examples."""
    pairs = ", ".join(f"{name!r} for {known!r}" for name, known in resolution.case_pairs[:3])
    return f"{resolution.n_case} of {len(resolution.index)} names differ from the model's by capitals alone ({pairs})"


def other_species(resolution: Resolution, vocabulary: Vocabulary, *, remedied: bool) -> str:
    """Say so where ids tell that they are of another species than the model's; else an empty text.

    ``remedied`` says that other names would match.
    """
    mine, models = species_of(resolution.unresolved), _species_of_model(vocabulary)
    if not mine or mine == models:
        return ""
    theirs = f", the model's are {models}" if models else ""
    ids = f"These ids are {mine}{theirs}"
    if remedied:
        return f"{ids}: make sure that the counts are of the model's species."
    return f"{ids}: choose a model of that species, or train one with tl.pretrain."


def perhaps_species(vocabulary: Vocabulary, *, with_table: bool) -> str:
    """Ask for the species, and say what to do where it is right."""
    advice = "Is this the species that the model was trained on? If not, choose another model or use tl.pretrain."
    if not with_table:
        table = (
            "the path of a FlyBase fb_synonym_fb_YYYY_MM.tsv.gz, or to 'flybase' to fetch it"
            if _species_of_model(vocabulary) in ("", FLY)
            else "the path of a table of name, tab, gene id"
        )
        advice += f" If it is, the names may be older or newer than the model's: set sf.settings.synonyms to {table}."
    return advice


def _series(gene_key: str | None) -> str:
    """Return the code that names where gene names come from."""
    return "adata.var_names" if gene_key is None else f"adata.var[{gene_key!r}]"


def _species_of_model(vocabulary: Vocabulary) -> str:
    return species_of(vocabulary.gene_ids[:50].tolist())


def _ends(names: Sequence[str]) -> list[str]:
    """Return patterns of what most names begin or end with, alone and together."""
    first = _shared(names, _FIRST)
    if first:
        rest = [name.removeprefix(first) for name in names if name.startswith(first)]
        second = _shared(rest, _FIRST)
        ahead = [f"^{re.escape(first)}"] + ([f"^{re.escape(first + second)}"] if second else [])
    else:
        ahead = []
    behind = [_VERSION] if 2 * sum(bool(re.search(_VERSION, name)) for name in names) > len(names) else []
    if not behind and (last := _shared(names, _LAST)):
        behind = [f"{re.escape(last)}$"]
    return [*behind, *ahead, *(f"{start}|{end}" for start in ahead for end in behind)]


def _shared(names: Sequence[str], piece: re.Pattern[str]) -> str:
    """Return the piece that more than half of the names have, else an empty text."""
    matches = (piece.search(name) for name in names)
    pieces = Counter(match.group() for match in matches if match)
    text, count = pieces.most_common(1)[0] if pieces else ("", 0)
    return text if 2 * count > len(names) else ""


def _end_words(pattern: str, example: str) -> str:
    ends = [match.group() for match in re.finditer(pattern, example)]
    return " and ".join(repr(end) for end in ends)
