"""Exact deletions by the package's stream, and by a loop that does one cell at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import torch

from scflyformer import models
from scflyformer._running import Running
from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.models._save import save_folder
from scflyformer.network._infer import embed_rows
from scflyformer.network._network import CellBert
from scflyformer.perturbation._copies import perturbed_shifts
from scflyformer.perturbation._edit import Edits
from scflyformer.perturbation._shift import state_cosines

FLOAT32 = Running(dtype="float32")

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.models import Model
    from scflyformer.tokens._rows import TokenRows

Pairs = tuple[np.ndarray, np.ndarray]


def mlm_twin(like: Model, folder: Path) -> Model:
    """Return a model of the article's kind, without a cell token, with the encoder of ``like``, kept in ``folder``."""
    if not (folder / "config.json").exists():
        config = type(like.network().config).from_dict(like.network().config.to_dict())
        config.objective, config.code_size, config.n_directions = "mlm", 0, 0
        config.max_position_embeddings = config.max_len = like.bert_len
        network = CellBert(config)
        own = network.state_dict()
        theirs = {name: tensor for name, tensor in like.network().state_dict().items() if name in own}
        place = "bert.embeddings.position_embeddings.weight"
        theirs[place] = theirs[place][-like.bert_len :]  # the first is the cell token's
        network.load_state_dict(theirs)
        save_folder(folder, network, like.vocabulary, metrics={}, provenance={"from": like.sha256}, card="# Twin\n")
    return models.load(folder)


def draw_cells(path: Path, model: Model, n: int, *, n_others: int = 50, seed: int = 0) -> tuple[TokenRows, TokenRows]:
    """Return ``n`` cells of about the median length, ranked, and others, from which centroids come.

    They are cut to the genes that BERT reads, so that a loop over them has the same ones.
    """
    adata = ad.read_h5ad(path)
    some = adata[np.sort(np.random.default_rng(seed).choice(len(adata), min(500, len(adata)), replace=False))].copy()
    rows, _ = _adata.token_rows(some, model, Reading(gene_key="FBgn"), progress=False)
    rows = rows.cut(model.bert_len)
    middle = np.argsort(np.abs(rows.lengths - np.median(rows.lengths)), kind="stable")
    return rows.take(np.sort(middle[:n])), rows.take(np.sort(middle[-n_others:]))


def spread_pairs(rows: TokenRows, n: int) -> tuple[np.ndarray, Pairs]:
    """Return tokens to delete, one a copy, and (cell, copy) pairs: ``n`` genes a cell, evenly over its ranks."""
    tokens, cells = [], []
    for cell in range(len(rows)):
        own = rows.tokens[rows.indptr[cell] : rows.indptr[cell + 1]]
        places = np.unique(np.linspace(0, len(own) - 1, min(n, len(own))).round().astype(int))
        tokens.append(own[places])
        cells.append(np.full(len(places), cell))
    chosen = np.concatenate(tokens)
    return chosen[:, None].astype(np.int32), (np.concatenate(cells), np.arange(len(chosen)))


def stream(network: CellBert, rows: TokenRows, sets: np.ndarray, pairs: Pairs, goal: np.ndarray, pooling: Any) -> Any:
    """Return the shifts of all pairs by the package's stream, unperturbed cells included, shape (n_pairs,)."""
    states = np.zeros((len(rows), 1), dtype=np.int64)
    vectors = embed_rows(network, rows, pooling=pooling, running=FLOAT32)
    edits = Edits(sets, *pairs, kind="delete")
    found = perturbed_shifts(
        network, rows, edits, vectors=vectors, centroids=goal[None], states=states, pooling=pooling, running=FLOAT32
    )
    return found[:, 0]


def plain_loop(bert: Any, rows: TokenRows, sets: np.ndarray, pairs: Pairs, goal: np.ndarray, *, batch: int) -> Any:
    """Return the same shifts as a straightforward loop over cells gets them.

    One cell at a time: its token list, a copy without each gene, padded with a mask to the model's length, through
    ``BertForMaskedLM`` with all hidden states, ``batch`` copies at once; then the mean over the genes of the
    second-to-last layer, before over those genes that stay.
    """
    length = bert.config.max_position_embeddings
    device = next(bert.parameters()).device
    out = np.empty(len(pairs[0]))
    which = np.zeros((1, 1), dtype=np.int64)

    def hidden(cells: list[list[int]]) -> np.ndarray:
        ids = torch.tensor([[*cell, *[0] * (length - len(cell))] for cell in cells], device=device)
        mask = torch.tensor([[1] * len(cell) + [0] * (length - len(cell)) for cell in cells], device=device)
        with torch.no_grad():
            found = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return found.hidden_states[-2].cpu().numpy()

    for cell in np.unique(pairs[0]):
        tokens = rows.tokens[rows.indptr[cell] : rows.indptr[cell + 1]].tolist()
        before = hidden([tokens])[0][: len(tokens)]
        copies = np.flatnonzero(pairs[0] == cell)
        for part in (copies[start : start + batch] for start in range(0, len(copies), batch)):
            genes = [int(sets[pairs[1][copy], 0]) for copy in part]
            after = hidden([[token for token in tokens if token != gene] for gene in genes])
            for copy, gene, states in zip(part, genes, after, strict=True):
                kept = np.array([token != gene for token in tokens])
                moved = states[: kept.sum()].mean(0)
                start = before[kept].mean(0)
                both = state_cosines(np.stack([moved, start]), goal[None], np.repeat(which, 2, axis=0))[:, 0]
                out[copy] = both[0] - both[1]
    return out


@dataclass(frozen=True, eq=False)
class Deletions:
    """Single deletions of a few cells, ready to run by the stream and by the loop.

    Both share the ``twin`` of the model, which ``bert`` is as transformers opens it; ``goals`` are centroids for
    ``twin`` and ``model``.
    """

    model: Model
    twin: Model
    bert: Any
    rows: TokenRows
    sets: np.ndarray
    pairs: Pairs
    goals: tuple[np.ndarray, np.ndarray]

    @classmethod
    def prepare(
        cls, path: Path, model: Model, folder: Path, *, n_cells: int, n_copies: int, n_others: int = 50
    ) -> Deletions:
        """Draw cells and load networks; the twin is kept in ``folder``."""
        from transformers import BertForMaskedLM

        twin = mlm_twin(model, folder)
        with models._model.quiet_transformers():
            bert = BertForMaskedLM.from_pretrained(twin.path, dtype=torch.float32).eval()
        rows, others = draw_cells(path, model, n_cells, n_others=n_others)
        goals = tuple(
            embed_rows(each.network(), others, pooling=each.pooling, running=FLOAT32).astype(np.float64).mean(0)
            for each in (twin, model)
        )
        return cls(model, twin, bert, rows, *spread_pairs(rows, n_copies), goals)  # type: ignore[arg-type]

    def stream(self, *, own: bool = False) -> np.ndarray:
        """Return the shifts by the package's stream through the twin, or the model's ``own`` as `tl.perturb` has it."""
        model = self.model if own else self.twin
        return stream(model.network(), self.rows, self.sets, self.pairs, self.goals[own], model.pooling)

    def loop(self, *, batch: int) -> np.ndarray:
        """Return the shifts by the plain loop."""
        return plain_loop(self.bert, self.rows, self.sets, self.pairs, self.goals[0], batch=batch)
