"""Embedding as most people would write it: a loop over cells for tokens, padded batches through `BertForMaskedLM`.

Cells come in the order of the file; a batch is padded to its longest cell and carries a mask; all is float32; all
layers are run for all tokens, all hidden states are kept, and the vocabulary head projects every token.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BertForMaskedLM

from scflyformer.genes._vocabulary import CELL, N_SPECIAL
from scflyformer.models._model import quiet_transformers

from .part import GENE_KEY

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.models import Model

Cell = tuple[np.ndarray, np.ndarray]
BATCHES = (8, 32, 100)
"""Cells a batch that the loop is tried with; the fastest counts."""


def tried(rates: dict[int, float]) -> str:
    """Return what `PlainLoop.tune` found, in words."""
    said = ", ".join(f"{batch} ({rate:.1f} cells/s)" for batch, rate in rates.items())
    return f"the fastest of the reference's batches of {said}"


class PlainLoop:
    """The plain loop for a model.

    What stands before BERT in a model with a cell token (values, profile code, cell token) is taken from the package's
    network and given to `BertForMaskedLM` as ``inputs_embeds``; a model of the article's kind needs none of it.
    """

    def __init__(self, model: Model, batch: int = 32, *, device: str = "cpu") -> None:
        self.model, self.batch = model, batch
        self.device = torch.device(device)
        with quiet_transformers():
            bert: Any = BertForMaskedLM.from_pretrained(model.path, dtype=torch.float32)
        self.bert = bert.eval().to(self.device)
        self.network: Any = model.network().to(self.device) if model.has_cell_token else None
        self.places = {name: place for place, name in enumerate(model.vocabulary.gene_ids)}

    def tune(self, adata: AnnData) -> dict[int, float]:
        """Return cells a second of each batch size, and keep the fastest."""
        rates = {}
        for self.batch in BATCHES:
            begin = time.perf_counter()
            self.embed(adata)
            rates[self.batch] = adata.n_obs / (time.perf_counter() - begin)
        self.batch = max(rates, key=lambda batch: rates[batch])
        return rates

    def tokens(self, adata: AnnData) -> list[Cell]:
        """Return token ids and values of each cell, cell by cell; ties in the order of the vocabulary."""
        medians = self.model.vocabulary.medians
        genes = self._genes(adata)
        cells = []
        for start, stop in zip(adata.X.indptr[:-1], adata.X.indptr[1:], strict=True):
            gene, counts = genes[adata.X.indices[start:stop]], adata.X.data[start:stop]
            gene, counts = gene[gene >= 0], counts[gene >= 0]
            scaled = counts / medians[gene]
            order = np.lexsort((gene, -scaled))[: self.model.max_len]
            values = np.log1p(scaled * (medians[gene].sum() / max(counts.sum(), 1)))
            cells.append((gene[order] + N_SPECIAL, values[order]))
        return cells

    def embed(self, adata: AnnData) -> np.ndarray:
        """Return the embedding of each cell, as `tl.embed` gives it."""
        cells = self.tokens(adata)
        panel = torch.zeros(self.model.vocabulary.n_genes, dtype=torch.bool)
        panel[np.setdiff1d(self._genes(adata), -1)] = True
        panel = panel.to(self.device)
        make = self._cell_batch if self.model.has_cell_token else self._mean_batch
        with torch.no_grad():
            parts = [
                make(cells[start : start + self.batch], panel).cpu().numpy()
                for start in range(0, len(cells), self.batch)
            ]
        return np.concatenate(parts)

    def _genes(self, adata: AnnData) -> np.ndarray:
        return np.array([self.places.get(name, -1) for name in adata.var[GENE_KEY]])

    def _padded(self, cells: list[Cell]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens = pad_sequence([torch.from_numpy(tokens.astype(np.int64)) for tokens, _ in cells], batch_first=True)
        values = pad_sequence([torch.from_numpy(values.astype(np.float32)) for _, values in cells], batch_first=True)
        return tokens.to(self.device), values.to(self.device), (tokens != 0).long().to(self.device)

    def _cell_batch(self, cells: list[Cell], panel: torch.Tensor) -> torch.Tensor:
        tokens, values, mask = self._padded(cells)
        network, words = self.network, self.bert.bert.embeddings.word_embeddings
        cell, code = words.weight[CELL].expand(len(cells), -1), None
        if network.profile_encoder is not None:
            code = network.profile_encoder(tokens, values, panel)
            cell = cell + network.code_to_cell(network.profile_encoder.leading(code))
        tokens, values, mask = (part[:, : self.model.bert_len] for part in (tokens, values, mask))
        genes = words(tokens) + network.value_encoder(values.unsqueeze(-1))
        embedded = torch.cat([cell.unsqueeze(1), genes], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        out = self.bert(inputs_embeds=embedded, attention_mask=mask, output_hidden_states=True)
        vectors = network.cell_norm(out.hidden_states[-1][:, 0])
        return vectors if code is None else torch.cat([vectors, code], dim=1)

    def _mean_batch(self, cells: list[Cell], _: torch.Tensor) -> torch.Tensor:
        tokens, _, mask = (part[:, : self.model.bert_len] for part in self._padded(cells))
        hidden = self.bert(input_ids=tokens, attention_mask=mask, output_hidden_states=True).hidden_states[-2]
        return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
