"""A pretraining run: sources in, a model folder out, resumable in between."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer._version import __version__
from scflyformer.models._save import CHECKPOINTS, save_folder
from scflyformer.training._card import model_card
from scflyformer.training._corpus import add_synonyms, build_store, split_samples
from scflyformer.training._store import TokenStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models import Model
    from scflyformer.training._corpus import Source
    from scflyformer.training._options import PretrainOptions


def run(
    sources: list[Source],
    out: Path,
    *,
    options: PretrainOptions,
    init: Model | None,
    layer: str | None,
    min_cells: int,
    synonyms: SynonymTable | None,
    validation: float | Sequence[str],
    weights: str,
    device: str,
    identity: dict[str, Any],
    keep_checkpoints: bool,
) -> Model:
    """Train, or go on training, and write the model folder.

    ``identity`` is what must agree for a run to be resumed, the ``options`` among it.
    """
    import torch

    from scflyformer.network._network import CellBert, make_config
    from scflyformer.training._trainer import train

    work = out / CHECKPOINTS
    store, vocabulary, samples = _store(sources, work, init, layer, min_cells, synonyms, identity)
    train_cells, held_out, unit = split_samples(samples, validation, options.seed)
    torch.manual_seed(options.seed)
    if init is None:
        shape = {key: getattr(options, key) for key in _SHAPE}
        network = CellBert(make_config(vocabulary.n_tokens, objective=options.objective, **shape))
    else:
        network = CellBert.from_pretrained(init.path, dtype=torch.float32)
    started = datetime.now(UTC)
    network, log, found = train(
        network, store, train_cells, held_out, folder=work / "steps", options=options, device=device
    )
    metrics = {
        "held_out": {
            "what": "masked genes of held-out cells (15 %), one draw of masks, nats per gene",
            "split_unit": unit,
            "samples": sorted(np.unique(samples[held_out]).tolist()) if unit == "sample" else [],
            "n_cells": len(held_out),
            **{name: round(value, 5) for name, value in found.items()},
        },
        "training": {"n_cells": len(train_cells), "n_tokens": int(store.lengths[train_cells].sum())},
    }
    provenance = {
        "data": [source.record for source in sources],
        "init": None if init is None else {"name": init.name, "sha256": init.sha256},
        "options": asdict(options),
        "identity": identity,
        "versions": {"scflyformer": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "hardware": f"{device}, {torch.get_num_threads()} threads",
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    model = save_folder(
        out,
        network.to(getattr(torch, weights)).cpu(),
        vocabulary,
        metrics=metrics,
        provenance=provenance,
        card=model_card(out.name, vocabulary, metrics, provenance),
        extra_files={"training.tsv": _log_table(log).to_csv(sep="\t", index=False, float_format="%.6g")},
    )
    if not keep_checkpoints:
        shutil.rmtree(work)
    return model


_SHAPE = ("hidden_size", "n_layers", "n_heads", "feed_forward", "max_len", "dropout")


def _store(
    sources: list[Source],
    work: Path,
    init: Model | None,
    layer: str | None,
    min_cells: int,
    synonyms: SynonymTable | None,
    identity: dict[str, Any],
) -> tuple[TokenStore, Vocabulary, np.ndarray]:
    """Open the token store of an interrupted run, or write a new one."""
    from scflyformer.genes._vocabulary import Vocabulary

    folder, named = work / "store", work / "run.json"
    text = json.dumps(identity, indent=2, sort_keys=True, default=str)
    if named.exists():
        before, now = json.loads(named.read_text()), json.loads(text)
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            told = "; ".join(f"{key}: was {before.get(key)!r}, is {now.get(key)!r}" for key in changed[:4])
            raise ValueError(
                f"{work} holds an unfinished run with other settings ({told}). "
                "Call with the same settings to go on with it, or remove that folder to start anew."
            )
        return TokenStore(folder), Vocabulary.read(work / "vocab.tsv"), np.load(work / "samples.npy")
    shutil.rmtree(work, ignore_errors=True)
    store, vocabulary, samples = build_store(
        sources, folder, layer=layer, min_cells=min_cells, vocabulary=None if init is None else init.vocabulary
    )
    if synonyms is not None:
        vocabulary = add_synonyms(vocabulary, synonyms)
    vocabulary.write(work / "vocab.tsv")
    np.save(work / "samples.npy", samples)
    named.write_text(text)
    return store, vocabulary, samples


def _log_table(log: list[dict[str, float]]) -> pd.DataFrame:
    """Return the training log, one row a step at which something was logged."""
    table = pd.DataFrame(log).rename(columns=lambda name: name.replace("eval_", "val_"))
    wanted = ["step", "epoch", "loss", "mlm", "profile", "val_loss", "val_mlm", "val_profile", "learning_rate"]
    table = table[[name for name in wanted if name in table]]
    return table.groupby("step", as_index=False).first()
