"""What stands in for a part of a model: a BERT that was never trained, an MLP in its place, principal components."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_model
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds
from torch import nn
from torch.nn import functional
from transformers import get_linear_schedule_with_warmup

from scflyformer import _log
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.models._save import save_folder
from scflyformer.network._network import CellBert
from scflyformer.training._batches import TokenBudgetBatches
from scflyformer.training._checkpoints import replace_weights
from scflyformer.training._objective import (
    CONTRAST_WEIGHT,
    OTHERS,
    PROFILE_WEIGHT,
    MaskedCells,
    profile_loss,
    shared_panel,
)
from scflyformer.training._run import TOKEN_SIZE

from ..lib.data import Data, Fit
from ..lib.representations import Frozen, Representation

if TYPE_CHECKING:
    from scflyformer.models import Model
    from scflyformer.training._prepare import Corpus
    from scflyformer.training._store import TokenStore

PCA_CELLS = 20_000
"""Pretraining cells that principal components are fitted on, drawn at random."""
_WIDE = 768
"""Width of the MLP; with four layers of BERT 192 wide it then has as many parameters, to a fifth."""


def untrained_bert(work: Path, model: Model, seed: int = 0) -> Path:
    """Return the folder of the model with a BERT that was never trained; its profile code is the model's."""
    torch.manual_seed(seed)
    network = CellBert(deepcopy(model.network().config))
    network.profile_encoder.load_state_dict(model.network().profile_encoder.state_dict())
    return _saved(work / f"untrained-bert-{model.sha256[:12]}", network, model)


def components(work: Path, model: Model, store: TokenStore, cells: np.ndarray) -> Path:
    """Return the folder of the model with principal components of pretraining cells in place of its directions.

    As many as it has directions, of the same values, each gene centred over the cells that measured it; what was not
    measured counts as average.
    """
    folder = work / f"pca-{model.sha256[:12]}"
    if folder.exists():
        return folder
    drawn = np.random.default_rng(0).permutation(cells)[:PCA_CELLS]
    rows = store.rows(np.sort(drawn))
    source, panels = store.source[np.sort(drawn)], store.panels.astype(np.float64)
    x = sparse.csr_matrix((rows.values, rows.tokens - N_SPECIAL, rows.indptr), shape=(len(rows), store.panels.shape[1]))
    measured = np.bincount(source, minlength=len(panels)) @ panels
    centre = np.asarray(x.sum(0)).ravel() / np.maximum(measured, 1)
    by_source = sparse.csr_matrix((np.ones(len(source)), (np.arange(len(source)), source)))
    shift = panels[: by_source.shape[1]] * centre
    centred = LinearOperator(
        x.shape,
        matvec=lambda v: x @ v - by_source @ (shift @ v),
        rmatvec=lambda u: x.T @ u - shift.T @ (by_source.T @ u),
        dtype=np.float64,
    )
    network = deepcopy(model.network())
    encoder = network.profile_encoder
    vectors = svds(centred, k=encoder.directions.shape[1], random_state=0)[2][::-1]
    with torch.no_grad():
        encoder.directions.copy_(torch.from_numpy(np.ascontiguousarray(vectors.T)))
        encoder.centre.copy_(torch.from_numpy(centre))
    return _saved(folder, network, model)


class Mlp(Representation):
    """An MLP on the profile code in BERT's place, trained on the same cells for the same objective, less masked genes.

    ``passes`` are those over the cells of the corpus; ``with_code``: the profile code stands next to the MLP's output,
    as it does next to the cell token.
    """

    def __init__(self, work: Path, model: Model, corpus: Corpus, *, passes: float, with_code: bool) -> None:
        super().__init__(work)
        self.code = Frozen(work, model.path)
        self.model, self.corpus, self.passes, self.with_code = model, corpus, passes, with_code
        self.name = "code and MLP in BERT's place" if with_code else "MLP's token alone"
        self.key = f"mlp-{passes:g}-{self.code.key}" + ("-code" if with_code else "")

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return the MLP's output, and the code next to it."""
        start = self.model.hidden_size
        code = torch.from_numpy(self.code.blocks(data, fit)["embedding"][:, start:])
        token = self._trained()
        with torch.no_grad():
            found = token(code)
        return {"part": (torch.cat([found, code], dim=1) if self.with_code else found).numpy()}

    def _trained(self) -> nn.Module:
        file = self.folder / f"mlp-{self.passes:g}-{self.code.key}.safetensors"
        network = _without_bert(self.model)
        token = nn.Sequential(_mlp(self.model), network.cell_norm)
        if not file.exists():
            _train(network, token, self.corpus, self.passes)
            network.scale_token(TOKEN_SIZE)
            replace_weights(token, file)
        load_model(token, file)
        return token.eval()


def _mlp(model: Model) -> nn.Module:
    torch.manual_seed(0)
    size, width = model.embedding_size - model.hidden_size, model.hidden_size
    return nn.Sequential(
        nn.Linear(size, _WIDE), nn.GELU(), nn.LayerNorm(_WIDE), nn.Linear(_WIDE, _WIDE), nn.GELU(),
        nn.LayerNorm(_WIDE), nn.Linear(_WIDE, width),
    )  # fmt: skip


def _without_bert(model: Model) -> CellBert:
    """Return a network of the model's shape, untrained but for its profile code."""
    torch.manual_seed(0)
    network = CellBert(deepcopy(model.network().config))
    network.profile_encoder.load_state_dict(model.network().profile_encoder.state_dict())
    network.profile_encoder.requires_grad_(False)
    return network


def _train(network: CellBert, token: nn.Module, corpus: Corpus, passes: float) -> None:
    options = {"max_len": network.bert_len, "seed": 0}
    groups = np.unique(corpus.samples, return_inverse=True)[1]
    among = np.full(len(groups), -1)
    among[corpus.train_cells] = groups[corpus.train_cells]
    batches = TokenBudgetBatches(corpus.store, corpus.train_cells, batch_tokens=24576, groups=groups, **options)
    batches.n_batches = max(round(batches.per_pass * passes), 1)
    data = MaskedCells(corpus.store, objective="cell", subsample=True, groups=among, **options)
    learnt = [*token.parameters(), *network.profile_decoder.parameters(), *network.other_half.parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=1.2e-3, weight_decay=0.001)
    schedule = get_linear_schedule_with_warmup(optimizer, min(200, len(batches) // 4), len(batches))
    with _log.progress(total=len(batches), desc="MLP", unit="step") as bar:
        for number in batches:
            batch = data.__getitems__(number)
            genes = shared_panel(batch)
            with torch.no_grad():
                code = network.code(batch["tokens"], batch["values"], batch["panel"])
            cells = token(code)
            loss = PROFILE_WEIGHT * profile_loss(network.profile_logits(cells, genes), batch, genes)
            logits = network.half_logits(cells, batch[OTHERS], batch["panel"][0])
            loss = loss + CONTRAST_WEIGHT * functional.cross_entropy(logits, batch["own"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimizer.step()
            schedule.step()
            bar.update(1)


def _saved(folder: Path, network: CellBert, model: Model) -> Path:
    if not folder.exists():
        save_folder(folder, network, model.vocabulary, metrics={}, provenance={"seed": 0}, card=f"# {folder.name}\n")
    return folder
