"""A pretraining run: a corpus in, a model folder out."""

from __future__ import annotations

import platform
import shutil
from copy import deepcopy
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scflyformer import _log
from scflyformer._version import __version__
from scflyformer.genes._resolve import N_EXAMPLES
from scflyformer.models._manifest import Manifest
from scflyformer.models._save import CHECKPOINTS, save_folder
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.network._randomness import own_randomness
from scflyformer.training._adapt import place_genes
from scflyformer.training._card import model_card
from scflyformer.training._contrast import fit_profile_encoder, load_profile_encoder
from scflyformer.training._extend import extend_on
from scflyformer.training._prepare import CODE
from scflyformer.training._trainer import train_network
from scflyformer.training._training_cells import manifest_of

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models import Model
    from scflyformer.network._profile import ProfileEncoder
    from scflyformer.training._options import RunOptions
    from scflyformer.training._prepare import Corpus, RunIdentity
    from scflyformer.training._processes import Processes

SHAPE = (
    "hidden_size", "n_layers", "n_heads", "feed_forward", "max_len", "bert_len", "dropout", "code_size",
    "n_directions",
)  # fmt: skip
"""Options that are a property of the network, and so kept with ``init``."""
TOKEN_SIZE = 0.5
"""Root mean square of the numbers of the cell token, where those of the contrast have 1: distances between cells follow
the profile code more, whose directions know more of tissues that the model has seen little of."""
_CONFIG = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def shape_of(model: Model) -> dict[str, float]:
    """Return the options that made the network of ``model``."""
    config = model.config
    values = [*(config[name] for name in _CONFIG), model.max_len, model.bert_len]
    values += [config.get("hidden_dropout_prob", 0.0)]
    values += [config.get("code_size", 0), config.get("n_directions", 0)]
    return dict(zip(SHAPE, values, strict=True))


def run(
    corpus: Corpus,
    out: Path,
    identity: RunIdentity,
    *,
    init: Model | None,
    weights: str,
    keep_checkpoints: bool,
    processes: Processes,
) -> dict[str, Any]:
    """Train, or go on training; the first process writes the model folder. Return the held-out metrics."""
    started, options = datetime.now(UTC), identity.options
    seen_before = None if init is None else Manifest.of_model(init)
    with own_randomness():
        torch.manual_seed(options.seed)
        network = _starting_network(corpus, options, init)
        if network.profile_encoder is not None:
            _log.info("pretrain: the profile code is fitted first")
            _fit_code(network.profile_encoder, corpus, out, options, init is not None, processes)
        network, log, held_out = train_network(
            network,
            corpus.store,
            corpus.train_cells,
            corpus.held_out,
            groups=corpus.groups,
            folder=out / CHECKPOINTS,
            options=options,
            processes=processes,
        )
    if network.profile_encoder is not None:
        network.scale_token(TOKEN_SIZE)
    names = [source["name"] for source in identity.sources]
    metrics = _metrics(corpus, names, log, held_out, init)
    hardware = f"{_device_name(processes.device)}, {torch.get_num_threads()} threads"
    provenance = {
        "data": identity.sources,
        "init": None if init is None else _origin(init, corpus.vocabulary),
        "options": asdict(options) | {name: getattr(network.config, name, 0) for name in ("code_size", "n_directions")},
        "settings": vars(identity.request),
        "versions": {"scflyformer": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "hardware": hardware if processes.count == 1 else f"{processes.count} processes, each on {hardware}",
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def save() -> None:
        save_folder(
            out,
            network.to(getattr(torch, weights)).cpu(),
            corpus.vocabulary,
            metrics=metrics,
            provenance=provenance,
            card=model_card(out.name, corpus.vocabulary, metrics, provenance),
            extra_files={"training.tsv": log_table(log).to_csv(sep="\t", index=False, float_format="%.6g")},
            manifest=manifest_of(corpus.store, names, corpus.vocabulary, seen_before, use="pretraining"),
        )
        if not keep_checkpoints:
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
            if (out / CHECKPOINTS).exists():  # some systems keep memory-mapped files
                _log.warning(f"{out / CHECKPOINTS} could not be removed; nothing needs it any more.")

    processes.from_first(save)
    return metrics["held_out"]


def _starting_network(corpus: Corpus, options: RunOptions, init: Model | None) -> CellBert:
    """Return the network that training starts from: a new one, or that of ``init`` with the genes that it lacks."""
    if init is None:
        shape = {name: getattr(options, name) for name in SHAPE}
        shape |= {name: min(shape[name], corpus.vocabulary.n_genes) for name in ("code_size", "n_directions")}
        config = make_config(corpus.vocabulary.n_tokens, NetworkShape(objective=options.objective, **shape))  # type: ignore[arg-type]
        return CellBert(config)
    network, n_old = deepcopy(init.network()).cpu(), init.vocabulary.n_genes
    if corpus.vocabulary.n_genes > n_old:
        network = extend_on(network, corpus.store, corpus.train_cells, seed=options.seed)
        if network.profile_encoder is not None:
            place_genes(network.profile_encoder, corpus.store, corpus.train_cells, n_old=n_old, seed=options.seed)
    return network


def _fit_code(
    encoder: ProfileEncoder, corpus: Corpus, out: Path, options: RunOptions, going_on: bool, processes: Processes
) -> None:
    """Fit the profile encoder in the first process; all take it over."""
    file = out / CHECKPOINTS / CODE
    processes.from_first(
        lambda: fit_profile_encoder(
            encoder,
            corpus.store,
            corpus.train_cells,
            corpus.groups,
            options=options,
            device=processes.device,
            file=file,
            going_on=going_on,
        )
    )
    load_profile_encoder(encoder, file)


def _metrics(
    corpus: Corpus,
    names: list[str],
    log: list[dict[str, float]],
    held_out: dict[str, float],
    init: Model | None,
) -> dict[str, Any]:
    """Return the content of ``metrics.json``; ``names`` are those of the sources."""
    store, samples, n_genes = corpus.store, corpus.samples, corpus.vocabulary.n_genes
    return {
        "held_out": {
            "what": "masked genes of held-out cells (15 %), one draw of masks, nats per gene; weights of the step at "
            "which the loss was lowest",
            "sources": [names[number] for number in np.unique(store.source[corpus.held_out])],
            "split_unit": corpus.split_unit,
            "samples": sorted(np.unique(samples[corpus.held_out]).tolist()) if corpus.split_unit == "sample" else [],
            "n_cells": len(corpus.held_out),
            **{name: round(value, 5) for name, value in held_out.items()},
        },
        "training": {
            "n_cells": len(corpus.train_cells),
            "n_tokens": int(store.lengths[corpus.train_cells].sum()),
            "n_steps": max(int(entry["step"]) for entry in log),
        },
        "vocabulary": {"n_genes": n_genes, "n_new": 0 if init is None else n_genes - init.vocabulary.n_genes},
    }


def _origin(init: Model, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return what ``provenance.json`` says of the model gone on from, and of the genes it lacked."""
    n_genes = init.vocabulary.n_genes
    new = vocabulary.names[n_genes:]
    known = {"name": init.name, "sha256": init.sha256, "n_genes": n_genes}
    return known | {"n_new": len(new), "new_genes_such_as": new[:N_EXAMPLES].tolist()}


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def log_table(log: list[dict[str, float]]) -> pd.DataFrame:
    """Return the training log, one row a step at which something was logged."""
    table = pd.DataFrame(log).rename(columns=lambda name: name.replace("eval_", "val_"))
    parts = ["loss", "mlm", "profile", "contrast"]
    wanted = ["step", "epoch", *parts, *(f"val_{name}" for name in parts), "learning_rate"]
    table = table[[name for name in wanted if name in table]]
    return table.groupby("step", as_index=False).first()
