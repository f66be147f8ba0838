"""The second part of the profile encoder: from one half of a cell's counts, find the other among many cells."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_model
from torch import nn
from torch.nn import functional
from transformers import get_linear_schedule_with_warmup

from scflyformer import _log
from scflyformer.training._checkpoints import replace_weights
from scflyformer.training._directions import reliable_directions
from scflyformer.training._halves import half_profiles, whole_counts

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from scflyformer.network._profile import ProfileEncoder
    from scflyformer.training._options import RunOptions
    from scflyformer.training._store import TokenStore

TEMPERATURE = 0.1
SHARE = (0.3, 0.7)
"""Share of the counts in the first half, drawn per batch."""
HIDDEN = 0.5
"""Share of the genes hidden from the first half of a cell, at most: drawn per cell. Cells that miss genes, as those of
other platforms do, are then known by the rest."""
DIRECTIONS_VARIANCE = 6.0
"""Total variance of the leading directions, as many as the contrast has numbers, in units of the contrast's, whose
numbers have variance 1: distances between cells follow the directions more than the contrast, which knows less of
tissues that it was not trained on. Further directions keep their scale and add little."""
_LEAST_SPREAD = 0.01
"""Directions of a smaller spread, as a share of the largest, are noise; they are not brought to a like scale."""
_BATCH_CELLS, _LEARNING_RATE, _WEIGHT_DECAY, _WARM_UP = 512, 1e-3, 0.01, 0.1
_GENE_RATE = 0.1
"""Share of the learning rate for the weights of each gene, which else soon know the cells of small data sets."""
_GENTLER = 0.2
"""Share of the learning rate for an encoder that knows something already."""


def fit_profile_encoder(
    encoder: ProfileEncoder,
    store: TokenStore,
    cells: np.ndarray,
    samples: np.ndarray,
    *,
    options: RunOptions,
    device: str,
    file: Path,
    going_on: bool,
) -> None:
    """Fit both parts and write them to ``file``; where that is there, they were fitted before.

    The second part is trained on ``cells``, positions in the store, which are told apart within ``samples``, one for
    every cell of the store; without an epoch it stays random. ``going_on`` keeps what the encoder knows.
    """
    if file.exists():
        return
    if not going_on:
        fitted = reliable_directions(store, cells, encoder.directions.shape[1], seed=options.seed)
        largest = fitted.spread.max()
        scale = np.maximum(fitted.spread, _LEAST_SPREAD * largest) if largest > 0 else np.ones_like(fitted.spread)
        with torch.no_grad():
            encoder.directions.copy_(torch.from_numpy(fitted.weights / scale))  # the network learns from a like scale
            encoder.centre.copy_(torch.from_numpy(fitted.centre))
            if encoder.contrast_directions is not None:
                encoder.contrast_directions.copy_(encoder.directions[:, : encoder.n_read])
        for layer in encoder.contrast:
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                layer.reset_parameters()
    rate = _LEARNING_RATE * (_GENTLER if going_on else 1)
    learnt: list[dict[str, Any]] = [{"params": list(encoder.contrast.parameters()), "lr": rate}]
    if encoder.n_read or going_on:
        learnt.append({"params": [encoder.read_directions], "lr": rate * _GENE_RATE})
    encoder.requires_grad_(False)
    for parameter in chain.from_iterable(group["params"] for group in learnt):
        parameter.requires_grad_(True)
    encoder.to(device).train()
    optimizer = torch.optim.AdamW(learnt, weight_decay=_WEIGHT_DECAY)
    epochs, seed = options.code_epochs, options.seed
    _train_contrast(encoder, optimizer, store, cells, samples, epochs=epochs, seed=seed)
    encoder.cpu().requires_grad_(False)
    if not going_on:
        weight = np.sqrt(DIRECTIONS_VARIANCE * encoder.size / (scale[: encoder.size] ** 2).sum())
        encoder.rescale(torch.from_numpy(scale * weight).float())
    replace_weights(encoder, file)


def load_profile_encoder(encoder: ProfileEncoder, file: Path) -> None:
    """Take over what was fitted; it stays as it is while the rest of the network trains."""
    load_model(encoder, str(file))
    encoder.requires_grad_(False)


def _train_contrast(
    encoder: ProfileEncoder,
    optimizer: torch.optim.Optimizer,
    store: TokenStore,
    cells: np.ndarray,
    samples: np.ndarray,
    *,
    epochs: int,
    seed: int,
) -> None:
    random = np.random.default_rng([seed, 1])
    cells = cells[store.lengths[cells] > 1]
    groups = np.unique(samples[cells], return_inverse=True)[1]
    batches = [batch for _ in range(epochs) for batch in _batches(cells, groups, random)]
    if not batches:
        return
    schedule = get_linear_schedule_with_warmup(optimizer, int(_WARM_UP * len(batches)), len(batches))
    bar = _log.progress(total=len(batches), desc="profile encoder", unit="step")
    recent: list[float] = []
    for batch in batches:
        rows = store.rows(batch)
        counts = whole_counts(rows, store.medians)
        halves = half_profiles(rows, counts, store.medians, random, random.uniform(*SHARE))
        halves[0][random.random(halves[0].shape, dtype=np.float32) < random.uniform(0, HIDDEN, (len(batch), 1))] = 0
        measured = np.flatnonzero(store.panels[store.source[batch[0]]])  # a sample is of one data set
        first, second = (_contrasted(encoder, half[:, measured], measured) for half in halves)
        loss = contrast_loss(first, second)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        recent = [*recent[-49:], float(loss.detach())]
        bar.update(1)
        bar.set_postfix({"loss": f"{np.mean(recent):.3f}"})
    bar.close()
    _log.info(f"profile encoder: {len(batches)} steps, loss {np.mean(recent):.3f} nats")


def _contrasted(encoder: ProfileEncoder, values: np.ndarray, genes: np.ndarray) -> Tensor:
    """Return what the small network makes of the values of ``genes``, of unit length, shape (n_cells, size)."""
    read = encoder.read_directions
    measured = torch.from_numpy(genes).to(read.device)
    linear = (torch.from_numpy(values).to(read.device) - encoder.centre[measured]) @ read[measured]
    return functional.normalize(encoder.contrasted(linear), dim=1)


def contrast_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return the cross-entropy of finding each cell's other half in the batch, nats (InfoNCE, van den Oord 2018)."""
    likeness = first @ second.T / TEMPERATURE
    own = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)) / 2


def _batches(cells: np.ndarray, groups: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Return one pass in random order: cells of one group a batch, of at least two."""
    batches = []
    for group in np.unique(groups):
        own = random.permutation(cells[groups == group])
        batches += [part for part in np.array_split(own, max(round(len(own) / _BATCH_CELLS), 1)) if len(part) > 1]
    return [batches[place] for place in random.permutation(len(batches))]
