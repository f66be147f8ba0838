"""Before training: a new run's corpus is written to disk, an unfinished run's is opened again."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.genes._vocabulary import Vocabulary
from scflyformer.models._save import CHECKPOINTS, to_json
from scflyformer.training._corpus import add_synonyms, build_store, split_samples
from scflyformer.training._store import TokenStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.training._options import RunOptions
    from scflyformer.training._sources import CorpusRequest, Source, SourceRecord

STEPS, BEST, CODE = "steps", "best.safetensors", "profile_encoder.safetensors"
"""Folder of the training states, files of the weights with the lowest held-out loss and of the profile encoder."""
_RUN, _STORE, _VOCABULARY, _SAMPLES = "run.json", "store", "vocab.tsv", "samples.npy"
_OWN = {_RUN, _STORE, _VOCABULARY, _SAMPLES, STEPS, BEST, f"{BEST}.part", CODE, f"{CODE}.part"}
_SHARED_SECONDS = 90
"""How long a file may take to be seen on another machine: network file systems remember that it was not there."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """What a run trains on.

    Attributes
    ----------
    samples
        ``"source:sample"`` of each cell of the store, empty where not known, shape (n_cells,).
    train_cells, held_out
        Positions of cells in the store.
    split_unit
        ``"sample"`` or ``"cell"``.
    """

    store: TokenStore
    vocabulary: Vocabulary
    samples: np.ndarray
    train_cells: np.ndarray
    held_out: np.ndarray
    split_unit: str

    @property
    def groups(self) -> np.ndarray:
        """Cells within which halves of counts are told apart: the sample, or the source where that is not known."""
        return np.where(self.samples == "", self.store.source.astype(str), self.samples)


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What must agree for an unfinished run to be gone on with; ``init`` is the hash of the model it starts from."""

    options: RunOptions
    sources: list[SourceRecord]
    init: str | None
    request: CorpusRequest

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``run.json`` holds it."""
        return {"options": asdict(self.options), "sources": self.sources, "init": self.init, **vars(self.request)}


def require_free(out: Path) -> None:
    """Raise a FileExistsError unless ``out`` is free or holds an unfinished run: better now than after training."""
    work = out / CHECKPOINTS
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file; give the name of a folder to make.")
    others = sorted(set(os.listdir(out)) - {CHECKPOINTS})
    if "model.safetensors" in others:
        raise FileExistsError(f"{out} already holds a model; give another `out`.")
    if work.exists():
        others += [f"{CHECKPOINTS}/{name}" for name in sorted(set(os.listdir(work)) - _OWN)]
    if others:
        raise FileExistsError(
            f"{out} exists and holds something other than an unfinished run ({', '.join(others[:3])}); "
            "give another `out`, or empty it."
        )


def prepare(
    sources: list[Source],
    out: Path,
    identity: RunIdentity,
    *,
    vocabulary: Vocabulary | None,
    synonyms: SynonymTable | None,
) -> None:
    """Write the corpus to ``out/checkpoints``, unless an unfinished run has done so.

    Where this fails before a new run has begun, nothing of it is left.
    """
    work, request = out / CHECKPOINTS, identity.request
    if (work / _RUN).exists():
        _require_same(work, identity)
        return
    was_there = out.exists()
    shutil.rmtree(work, ignore_errors=True)  # what a run left that ended while it read its sources
    try:
        store, vocabulary, samples = build_store(sources, work / _STORE, request, vocabulary=vocabulary)
        if synonyms is not None:
            vocabulary = add_synonyms(vocabulary, synonyms)
        train_cells, held_out, _ = split_samples(samples, request.validation, identity.options.seed)
        for cells, use in ((train_cells, "train on"), (held_out, "hold out")):
            if not store.lengths[cells].any():
                raise ValueError(f"None of the {len(cells)} cells to {use} expresses a gene of the vocabulary.")
        vocabulary.write(work / _VOCABULARY)
        np.save(work / _SAMPLES, samples)
        (work / _RUN).write_text(to_json(identity.as_dict()), encoding="utf-8")
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if not was_there:
            shutil.rmtree(out, ignore_errors=True)
        raise


def open_corpus(out: Path, *, validation: float | Sequence[str], seed: int) -> Corpus:
    """Open what :func:`prepare` wrote, if need be in another process, which may wait until it sees the files."""
    work = out / CHECKPOINTS
    until = time.monotonic() + _SHARED_SECONDS
    while not (work / _RUN).exists():
        if time.monotonic() > until:
            raise FileNotFoundError(
                f"There is no {work / _RUN}; `out` must be a folder that all processes of a run see."
            )
        time.sleep(1)
    samples = np.load(work / _SAMPLES, allow_pickle=False)
    store, vocabulary = TokenStore(work / _STORE), Vocabulary.read(work / _VOCABULARY)
    return Corpus(store, vocabulary, samples, *split_samples(samples, validation, seed))


def _require_same(work: Path, identity: RunIdentity) -> None:
    before, now = json.loads((work / _RUN).read_text(encoding="utf-8")), json.loads(to_json(identity.as_dict()))
    changed = [
        change for key in sorted(before.keys() | now.keys()) for change in _changes(key, before.get(key), now.get(key))
    ]
    if changed:
        raise ValueError(
            f"{work} holds an unfinished run with other settings ({'; '.join(changed[:4])}). "
            "Call with the same settings to go on with it, or remove that folder to start anew."
        )


def _changes(name: str, before: Any, now: Any) -> list[str]:
    """Say what differs: of two dictionaries only the entries that do."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [change for key in keys for change in _changes(f"{name}[{key!r}]", before.get(key), now.get(key))]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [change for place, pair in pairs for change in _changes(f"{name}[{place}]", *pair)]
    return [] if before == now else [f"{name}: was {before!r}, is {now!r}"]
