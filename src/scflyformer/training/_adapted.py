"""From cells and a model to the folder of a model that reads more genes."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from scflyformer import _log
from scflyformer._version import __version__
from scflyformer.data._chunks import row_chunks
from scflyformer.genes._resolve import resolve_genes
from scflyformer.models._manifest import Manifest
from scflyformer.models._save import save_folder
from scflyformer.network._randomness import own_randomness
from scflyformer.training._adapt import place, widen
from scflyformer.training._batches import TokenBudgetBatches
from scflyformer.training._corpus import build_store
from scflyformer.training._directions import LEAST_CELLS
from scflyformer.training._extend import GROWS, balance_new_genes, extend_network
from scflyformer.training._objective import MaskedCells, losses
from scflyformer.training._sources import CorpusRequest, open_sources
from scflyformer.training._training_cells import manifest_of

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models import Model
    from scflyformer.network._network import CellBert
    from scflyformer.training._sources import Source
    from scflyformer.training._store import TokenStore

FEWEST_CELLS, FEW_CELLS = 50, 500
"""Cells below which there is an error, or a warning."""
_BATCH_TOKENS, _LEARNING_RATE = 8192, 1e-3
_N_LARGEST = 5
_CARD = """# {name}

The model `{base}` (sha256 {sha:.12}), adapted by `scflyformer.tl.adapt` to read {n_new:,} further genes,
{n_genes:,} in all, from {n_cells:,} unlabelled cells, whose values have sha256 {data:.12}. Of their counts it reads
{share_counts:.1%}, where `{base}` reads {share_counts_before:.1%}.

The new genes were placed in closed form, and {n_directions} directions of expression of these cells were added to the
embedding. {trained}What `{base}` makes of the genes that it knows is unchanged.

The cells it was adapted to are known to it, without their labels: test on others. For all else see the card of
`{base}`.
"""


class AdaptReport(TypedDict):
    """What was adapted, as in ``metrics.json``; shares are of all counts, ``largest_new`` those of new genes."""

    n_cells: int
    n_new: int
    n_directions: int
    share_counts_before: float
    share_counts: float
    largest_new: dict[str, float]
    steps: int


def write_adapted(
    adata: AnnData, model: Model, out: Path, *, layer: str | None, gene_key: str | None, steps: int, seed: int
) -> AdaptReport:
    """Write the folder ``out``; return what was adapted, as in its ``metrics.json``."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder; give another `out`.")
    network = deepcopy(model.network()).cpu().float()
    if network.profile_encoder is None:
        raise ValueError(
            f"model {model.name!r} has no profile code, in which new genes could be placed. "
            f"Train it on your cells instead: sf.tl.pretrain(adata, init={model.name!r}, out=…)."
        )
    if adata.n_obs < FEWEST_CELLS:
        raise ValueError(f"adapt learns from the cells at hand and got {adata.n_obs}; give {FEWEST_CELLS} or more.")
    seen_before = Manifest.of_model(model)
    request = CorpusRequest(layer=layer, gene_key=gene_key, min_cells=LEAST_CELLS, new_genes="add")
    with (
        tempfile.TemporaryDirectory() as folder,
        own_randomness(),
        open_sources([adata], request) as sources,
    ):
        torch.manual_seed(seed)
        store, vocabulary, _ = build_store(sources, Path(folder), request, vocabulary=model.vocabulary)
        cells = np.flatnonzero(store.lengths > 0)
        if len(cells) < FEWEST_CELLS:
            raise ValueError(f"adapt got {len(cells)} cells with counts; give {FEWEST_CELLS} or more.")
        if len(cells) < FEW_CELLS:
            _log.warning(f"adapt: {len(cells)} cells are few to tell signal from noise; {FEW_CELLS} are enough.")
        n_new = vocabulary.n_genes - model.vocabulary.n_genes
        placement = place(network.profile_encoder, store, seed=seed)
        network = extend_network(network, vocabulary.n_genes, seed=seed)
        network = widen(network, placement)
        if n_new:
            balance_new_genes(network, n_new, store, cells, seed=seed)
            if steps:
                train_new_genes(network, n_new, store, cells, steps=steps, seed=seed)
        shares = _count_shares(sources[0], layer, vocabulary)
        n_known = model.vocabulary.n_genes
        report: AdaptReport = {
            "n_cells": len(cells),
            "n_new": n_new,
            "n_directions": placement.further.shape[1],
            "share_counts_before": float(shares[:n_known].sum()),
            "share_counts": float(shares.sum()),
            "largest_new": {
                str(vocabulary.names[gene]): float(shares[gene])
                for gene in n_known + np.argsort(-shares[n_known:], kind="stable")[:_N_LARGEST]
            },
            "steps": steps,
        }
        data = sources[0].record | {"n_used": len(cells)}
        manifest = manifest_of(store, [sources[0].name], vocabulary, seen_before, use="adaptation")
        del store  # its files are mapped to memory
    card = _CARD.format(
        name=out.name, base=model.name, sha=model.sha256, n_genes=vocabulary.n_genes, data=data["sha256"],
        trained=f"The tokens of the new genes were then trained for {steps} batches. " if steps else "", **report,
    )  # fmt: skip
    provenance = model.provenance | {
        "adapted": {
            "from": {"name": model.name, "sha256": model.sha256},
            "data": data,
            "steps": steps,
            "seed": seed,
            "versions": {"scflyformer": __version__, "torch": torch.__version__},
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    }
    metrics = model.metrics | {"adapted": report}
    save_folder(out, network.eval(), vocabulary, metrics=metrics, provenance=provenance, card=card, manifest=manifest)
    return report


def train_new_genes(
    network: CellBert, n_new: int, store: TokenStore, cells: np.ndarray, *, steps: int, seed: int
) -> None:
    """Train the tokens and decoders of the last ``n_new`` genes; every other weight stays."""
    network.requires_grad_(False)
    parameters = [
        parameter
        for name, parameter in network.named_parameters()
        if name in GROWS and not name.startswith("profile_encoder")
    ]
    for parameter in parameters:
        parameter.requires_grad_(True)
        parameter.register_hook(_keep_last(n_new))
    batches = TokenBudgetBatches(store, cells, batch_tokens=_BATCH_TOKENS, max_len=network.bert_len, seed=seed)
    batches.n_batches = steps
    data = MaskedCells(store, objective="cell", max_len=network.bert_len, seed=seed, subsample=True)
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    with _log.progress(total=steps, desc="adapting", unit="step") as bar:
        for batch in batches:
            loss = losses(network, data.__getitems__(batch))["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.update(1)
    network.requires_grad_(True)


def _keep_last(n: int) -> Any:
    """Return a hook that keeps the gradient of the last ``n`` entries alone."""

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        kept = torch.zeros_like(gradient)
        kept[-n:] = gradient[-n:]
        return kept

    return hook


def _count_shares(source: Source, layer: str | None, vocabulary: Vocabulary) -> np.ndarray:
    """Return the share of all counts that each gene of the vocabulary has."""
    n_vars = len(source.gene_ids)
    sums = np.zeros(n_vars)
    for counts, _ in row_chunks(source.adata, layer=layer, index=np.arange(n_vars), n_genes=n_vars):
        sums += np.asarray(counts.sum(axis=0)).ravel()
    index = resolve_genes(source.gene_ids, vocabulary).index
    read = index >= 0
    return np.bincount(index[read], weights=sums[read], minlength=vocabulary.n_genes) / max(sums.sum(), 1e-12)
