"""Gene names become vocabulary indices, each gene on its own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.genes._flybase_names import FlyBaseNames
from scflyformer.genes._spelling import all_r_spellings, as_words, only_gene

if TYPE_CHECKING:
    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.genes._vocabulary import Vocabulary

STAGES = ("id", "symbol", "synonym", "table", "spelling")
"""How a name can be recognised, in the order tried; the last is another program's way to write a name."""
LOCUS_PREFIXES = ("Dmel\\", "Dmel_", "Dmel-")
"""What FlyBase and NCBI put before CG and CR ids: ``Dmel\\CG10007``, ``Dmel_CG10007``."""
FLY = "Drosophila melanogaster"
SPECIES_PREFIXES = {
    "FBgn": FLY,
    "ENSG": "human",
    "ENSMUSG": "mouse",
    "ENSRNOG": "rat",
    "ENSDARG": "zebrafish",
    "WBGene": "Caenorhabditis elegans",
    "AGAP": "Anopheles gambiae",
    "AAEL": "Aedes aegypti",
}
"""Beginnings of gene ids that tell the species."""
N_EXAMPLES = 8
_MICRO = "\N{MICRO SIGN}"


@dataclass(frozen=True, eq=False)
class Resolution:
    """What became of a list of gene names; examples are the first few names."""

    index: np.ndarray  # vocabulary gene of each name, -1 where it is not in the vocabulary, int32, (n_names,)
    unknown: np.ndarray  # names of no vocabulary gene, but not those missing or ambiguous, bool, (n_names,)
    by_stage: dict[str, int]  # names recognised by each of `STAGES`
    unresolved: tuple[str, ...]  # examples of names that are not in the vocabulary
    n_ambiguous: int  # names left out because they are a synonym of two genes
    ambiguous: tuple[str, ...]  # examples of them
    case_pairs: tuple[tuple[str, str], ...]  # examples of names unresolved by case only, each with the vocabulary's
    n_case: int  # how many such names there are
    n_duplicates: int  # names beyond the first that map to a gene already named
    spellings: tuple[tuple[str, str], ...]  # examples of another program's spellings, each with the vocabulary's name

    @property
    def n_mapped(self) -> int:
        """Names that map to a vocabulary gene."""
        return int((self.index >= 0).sum())


def resolve_genes(
    names: Iterable[object], vocabulary: Vocabulary, *, synonyms: SynonymTable | None = None
) -> Resolution:
    """Find the vocabulary gene of each name; a missing value or an empty string stays unresolved.

    Each name is tried by itself: as a primary id, as a symbol, as a synonym or CG id of the vocabulary that belongs to
    one gene only, and last in the synonym table. Case is kept, because fly names that differ by case alone are
    different genes. A name that the synonym table knows as the current symbol of another gene is that gene, though it
    may be an old name of a vocabulary gene. Greek letters count as their names, see :func:`spell_out`. A name that is
    none of these is looked up in the table of FlyBase that the package has, if the genes have FBgn ids. What is left is
    read where it can stand for one gene only: by an id within it (``FBgn0003996|w``), by parts that all name one gene,
    or as R's ``make.names`` writes one known name (``mt.CoI`` for ``mt:CoI``).
    """
    words = [word or "" for word in as_words(names)]
    lookups = _lookups(vocabulary)
    index = np.full(len(words), -1, dtype=np.int32)
    unknown = np.zeros(len(words), dtype=bool)
    by_stage = dict.fromkeys(STAGES, 0)
    ambiguous, unresolved, spellings = [], [], []
    by_r: dict[str, int] | None = None
    flybase: FlyBaseNames | None = None
    for position, word in enumerate(words):
        gene, stage = _find(word, lookups, synonyms)
        if word and gene < 0 and not stage:
            flybase = FlyBaseNames(vocabulary) if flybase is None else flybase
            gene = flybase.find(_plain(word))
            stage = "synonym" if gene >= 0 else ""
        if word and gene < 0 and not stage:
            by_r = all_r_spellings(lookups) if by_r is None else by_r
            gene = only_gene(word, lookups[0], by_r, lambda part: _find(part, lookups, synonyms)[0])
            if gene >= 0:
                stage = "spelling"
                spellings.append((word, str(vocabulary.names[gene])))
        if gene >= 0:
            index[position] = gene
            by_stage[stage] += 1
        else:
            unresolved.append(word)
            unknown[position] = word != "" and stage != "ambiguous"
            if stage == "ambiguous":
                ambiguous.append(word)
    pairs, n_case = _case_pairs(unresolved, lookups)
    mapped = index[index >= 0]
    return Resolution(
        index=index,
        unknown=unknown,
        by_stage=by_stage,
        unresolved=tuple(word for word in unresolved if word)[:N_EXAMPLES],
        n_ambiguous=len(ambiguous),
        ambiguous=tuple(ambiguous[:N_EXAMPLES]),
        case_pairs=pairs,
        n_case=n_case,
        n_duplicates=len(mapped) - len(np.unique(mapped)),
        spellings=tuple(spellings[:N_EXAMPLES]),
    )


def spell_out(name: str) -> str:
    """Return a name in ASCII as FlyBase files have it: ``nAChRα1`` and its garbled form ``nAChRÎ±1`` → ``nAChRalpha1``.

    FlyBase shows Greek letters on its pages and writes their names in its files. Text in UTF-8 that was once read as
    Latin-1 is put right first. Names in ASCII come back as they are.
    """
    if name.isascii():
        return name
    return "".join(letter if letter.isascii() else _letter_name(letter) for letter in repair_mojibake(name))


def repair_mojibake(name: str) -> str:
    """Return a name whose UTF-8 bytes were once read as Latin-1 as it was meant: ``nAChRÎ±1`` is ``nAChRα1``."""
    for codec in ("latin-1", "cp1252"):
        try:
            return name.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return name


def species_of(names: Iterable[str]) -> str:
    """Return the species that most of the names tell by their beginning, else an empty string."""
    names = list(names)
    for prefix, species in SPECIES_PREFIXES.items():
        numbered = [name for name in names if name.startswith(prefix) and name[len(prefix) :][:3].isdigit()]
        if 2 * len(numbered) > len(names):
            return species
    return ""


def _letter_name(letter: str) -> str:
    """Return the name of a Greek letter, capitalised where the letter is; another character stays."""
    words = unicodedata.name(letter, "").split()
    if letter == _MICRO:
        return "mu"
    if len(words) != 4 or words[0] != "GREEK" or words[2] != "LETTER":
        return letter
    name = {"LAMDA": "lambda"}.get(words[3], words[3].lower())
    return name.capitalize() if words[1] == "CAPITAL" else name


def _lookups(vocabulary: Vocabulary) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Return name → gene for ids, symbols and synonyms; a name of two genes maps to -1."""
    symbols: dict[str, int] = {}
    synonyms: dict[str, int] = {}
    for gene, (symbol, joined) in enumerate(
        zip(vocabulary.symbols.tolist(), vocabulary.synonyms.tolist(), strict=True)
    ):
        if symbol:
            symbols[symbol] = -1 if symbol in symbols else gene
        spelled = [] if symbol.isascii() else [spell_out(symbol)]
        for name in (*joined.split("|"), *spelled):
            if name:
                synonyms[name] = gene if synonyms.get(name, gene) == gene else -1
    return {name: gene for gene, name in enumerate(vocabulary.gene_ids.tolist())}, symbols, synonyms


def _find(word: str, lookups: tuple[Mapping[str, int], ...], table: SynonymTable | None) -> tuple[int, str]:
    """Return the gene of one name and the stage that found it, or -1 and ``"ambiguous"`` or ``""``."""
    if not word:
        return -1, ""
    ids, symbols, synonyms = lookups
    if word in ids:
        return ids[word], "id"
    if symbols.get(word, -1) >= 0:
        return symbols[word], "symbol"
    if table is not None and word in table.current:
        return ids.get(table.current[word], -1), "table"
    plain = _plain(word)
    variants = (word,) if plain == word else (word, plain)
    for name in variants:
        if synonyms.get(name, -1) >= 0:
            return synonyms[name], "synonym"
    if symbols.get(plain, -1) >= 0:
        return symbols[plain], "synonym"
    if table is not None:
        for name in variants:
            gene = table.synonyms.get(name, table.current.get(name))
            if gene is not None:
                return ids.get(gene, -1), "table"
    twice = word in symbols or word in synonyms or (table is not None and word in table.ambiguous)
    return -1, "ambiguous" if twice else ""


def _plain(word: str) -> str:
    """Return a name with Greek letters spelt out and without a prefix such as ``Dmel_``."""
    plain = spell_out(word)
    for prefix in LOCUS_PREFIXES:
        plain = plain.removeprefix(prefix)
    return plain


def _case_pairs(unresolved: list[str], lookups: tuple[Mapping[str, int], ...]) -> tuple[tuple, int]:
    """Find the vocabulary names that unresolved names would match if case did not count."""
    if not unresolved:
        return (), 0
    folded: dict[str, str] = {}
    for lookup in reversed(lookups):
        folded.update((name.casefold(), name) for name, gene in lookup.items() if gene >= 0)
    pairs = [(word, folded[word.casefold()]) for word in unresolved if word.casefold() in folded]
    pairs = [pair for pair in pairs if pair[0] != pair[1]]
    return tuple(pairs[:N_EXAMPLES]), len(pairs)
