"""The task "masked genes": hidden genes of held-out cells, guessed by networks and by counting."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from _bench import held_out
from _masked import GeneFrequencies, Scores, network_scores
from _results import described, result_file, save
from _tasks import Resamples
from pretrain_fly import SETS

from scflyformer.data import _adata
from scflyformer.data._reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from _representations import Frozen

MASKED_CELLS = 3_000
"""Held-out cells a set whose genes are hidden."""


def masked_genes(
    folder: Path, frozen: Sequence[Frozen], work: Path, *, n_boot: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (set, column, result): cross-entropy and first guesses on hidden genes of held-out libraries.

    All columns get the same cells and masks where their models share vocabulary and medians; cells are cut at the
    fewest genes that BERT reads among the models.
    """
    longest = min(column.model.bert_len for column in frozen)
    vocabularies: dict[str, Frozen] = {}
    for column in frozen:
        vocabularies.setdefault(_vocabulary_key(column), column)
    for word, first in vocabularies.items():
        same = [column for column in frozen if _vocabulary_key(column) == word]
        tag = "" if len(vocabularies) == 1 else f" ({first.name}'s vocabulary)"
        wanted = [(name, column) for name in SETS for column in same]
        files = {
            (name, column.name): result_file(work, f"masked {name}", column.name, f"{column.key}-{longest}-{n_boot}")
            for name, column in wanted
        }
        counted = {name: result_file(work, f"masked {name}", "counting", f"{word}-{longest}-{n_boot}") for name in SETS}
        if not all(file.exists() for file in [*files.values(), *counted.values()]):
            rows, held, libraries, panels = _ranked(folder, first, longest)
            if not all(file.exists() for file in counted.values()):
                table = GeneFrequencies([rows[name] for name in SETS], first.model.vocabulary.n_genes, longest)
                for source, name in enumerate(SETS):
                    guesses = table.scores(held[name], source, panels[name])
                    views = {key: _masked_view(each, libraries[name], n_boot) for key, each in guesses.items()}
                    save(counted[name], views)
            for (name, column), file in zip(wanted, files.values(), strict=True):
                if not file.exists():
                    scores = network_scores(column.model.network(), held[name], panels[name])
                    save(file, _masked_view(scores, libraries[name], n_boot))
        for name in SETS:
            for baseline, view in json.loads(counted[name].read_text()).items():
                yield name, baseline + tag, view
            for column in same:
                yield name, column.name, json.loads(files[name, column.name].read_text())


def _vocabulary_key(column: Frozen) -> str:
    known = column.model.vocabulary
    return sha256("|".join(known.gene_ids).encode() + known.medians.tobytes()).hexdigest()[:8]


def _ranked(folder: Path, column: Frozen, longest: int) -> tuple[dict, dict, dict, dict]:
    """Return ranked training cells of each set, up to 3,000 held-out cells, their libraries, and the genes measured."""
    train, held, libraries, panels = {}, {}, {}, {}
    for name in SETS:
        adata = ad.read_h5ad(folder / "fly" / f"{name}.h5ad")
        rows, _ = _adata.token_rows(adata, column.model, Reading(gene_key="FBgn"), max_len=longest, progress=False)
        test = held_out(adata.obs)
        cells = np.flatnonzero(test & (rows.lengths > 0))
        if len(cells) > MASKED_CELLS:
            cells = np.sort(np.random.default_rng(0).choice(cells, MASKED_CELLS, replace=False))
        train[name], held[name] = rows.take(np.flatnonzero(~test)), rows.take(cells)
        libraries[name] = adata.obs["batch"].to_numpy(dtype=str)[cells]
        index = _adata.match_genes(adata, column.model.vocabulary, gene_key="FBgn").index
        panels[name] = np.isin(np.arange(column.model.vocabulary.n_genes), index)
    return train, held, libraries, panels


def _masked_view(scores: Scores, libraries: np.ndarray, n_boot: int) -> dict[str, Any]:
    draws = Resamples(libraries, n_boot=n_boot)
    n = np.maximum(scores.n, 1)
    metrics = {"nats a gene": draws.mean(scores.nats / n, scores.n), "top-1": draws.mean(scores.hits / n, scores.n)}
    return described(
        metrics, draws, libraries, 0, "15 % of genes hidden, answers among the genes measured, held-out libraries"
    )
