"""The package's pretraining loop and a plain `transformers.Trainer`, on the same cells and sizes, with a stopwatch.

The plain loop is what one would write first: `BertForMaskedLM`, cells in random order padded to the longest of the
batch, masks as `DataCollatorForLanguageModeling` draws them, the vocabulary projected on every token, float32. Both get
the same cells, shape of network, length, cells a batch (on average) and threads. Only genes count as tokens, never
padding. The time of a step is taken from the end of the step before, so data are part of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from transformers import BertConfig, BertForMaskedLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from scflyformer.data import _adata
from scflyformer.genes._vocabulary import MASK, N_SPECIAL
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training._options import PretrainOptions, RunOptions
from scflyformer.training._processes import Processes
from scflyformer.training._store import CountWriter, TokenStore
from scflyformer.training._trainer import train_network

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.genes._vocabulary import Vocabulary

WARM_UP = 2
"""Steps left out at the start of each turn."""


@dataclass(frozen=True)
class Loop:
    """Sizes that the loops share: of the network, of a batch, and the steps timed."""

    hidden_size: int = 192
    n_layers: int = 4
    max_len: int = 1024
    batch_tokens: int = 8192
    steps: int = 4
    device: str = "cpu"


class Stopwatch(TrainerCallback):
    """Notes when steps end, and how many genes the network was given by then."""

    latest: Stopwatch | None = None

    def __init__(self) -> None:
        Stopwatch.latest = self
        self.ends: list[tuple[float, int]] = []
        self.tokens = 0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note that the weights are moved."""
        self.ends.append((time.perf_counter(), self.tokens))

    def rate(self) -> float:
        """Return tokens a second from the end of the warm-up on."""
        (begin, before), (end, after) = self.ends[WARM_UP - 1], self.ends[-1]
        return (after - before) / (end - begin)


def count_tokens(network: torch.nn.Module) -> torch.nn.Module:
    """Let the stopwatch know of every gene that the network is given."""

    def count(_: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if network.training and Stopwatch.latest is not None:
            tokens = kwargs["attention_mask"].sum() if "attention_mask" in kwargs else args[0].numel()
            Stopwatch.latest.tokens += int(tokens)

    network.register_forward_pre_hook(count, with_kwargs=True)
    return network


def make_store(file: Path, folder: Path, vocabulary: Vocabulary) -> TokenStore:
    """Write a token store of all cells of a file."""
    adata = ad.read_h5ad(file)
    index = _adata.match_genes(adata, vocabulary, gene_key="FBgn").index
    known = np.flatnonzero(index >= 0)
    counts = sparse.coo_matrix(adata.X[:, known])
    shape = (adata.n_obs, vocabulary.n_genes)
    panels = np.zeros((1, vocabulary.n_genes), dtype=bool)
    panels[0, index[known]] = True
    with CountWriter(folder) as writer:
        writer.append(sparse.csr_matrix((counts.data, (counts.row, index[known][counts.col])), shape=shape), 0)
        return writer.finish().rank(np.arange(vocabulary.n_genes), vocabulary.medians, panels)


class Cells(torch.utils.data.Dataset):
    """Token ids of a cell."""

    def __init__(self, store: TokenStore, max_len: int) -> None:
        self.store, self.max_len = store, max_len

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, cell: int) -> torch.Tensor:
        tokens = self.store.rows(np.array([cell])).tokens[: self.max_len]
        return torch.from_numpy(tokens.astype(np.int64))


def padded_and_masked(cells: list[torch.Tensor], n_tokens: int) -> dict[str, torch.Tensor]:
    """Pad to the longest; 15 % of tokens become targets, of which 80 % masked, 10 % random, 10 % kept."""
    truth = torch.nn.utils.rnn.pad_sequence(cells, batch_first=True)
    present = truth != 0
    chosen = (torch.rand(truth.shape) < 0.15) & present
    dice = torch.rand(truth.shape)
    tokens = torch.where(chosen & (dice < 0.8), MASK, truth)
    tokens = torch.where(chosen & (dice >= 0.9), torch.randint(N_SPECIAL, n_tokens, truth.shape), tokens)
    labels = truth.masked_fill(~chosen, -100)
    return {"input_ids": tokens, "attention_mask": present.long(), "labels": labels}


def plain(store: TokenStore, n_tokens: int, loop: Loop, folder: Path) -> None:
    """Train a while with the plain loop."""
    config = BertConfig(
        vocab_size=n_tokens, hidden_size=loop.hidden_size, num_hidden_layers=loop.n_layers, num_attention_heads=4,
        intermediate_size=2 * loop.hidden_size, max_position_embeddings=loop.max_len, hidden_dropout_prob=0.02,
        attention_probs_dropout_prob=0.0, type_vocab_size=1,
    )  # fmt: skip
    mean = np.minimum(store.lengths, loop.max_len).mean()
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=loop.steps + WARM_UP, learning_rate=1e-3, max_grad_norm=1.0,
        per_device_train_batch_size=max(round(loop.batch_tokens / mean), 1), use_cpu=loop.device == "cpu", report_to=[],
        disable_tqdm=True, save_strategy="no", logging_strategy="no", remove_unused_columns=False,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        count_tokens(BertForMaskedLM(config)), arguments, train_dataset=Cells(store, loop.max_len),
        data_collator=lambda cells: padded_and_masked(cells, n_tokens),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def ours(store: TokenStore, n_tokens: int, loop: Loop, folder: Path, objective: str, dtype: str) -> None:
    """Train as long with the package's loop; nothing is evaluated or saved before the last step."""
    shape = {"hidden_size": loop.hidden_size, "n_layers": loop.n_layers, "n_heads": 4}
    shape |= {"feed_forward": 2 * loop.hidden_size, "max_len": loop.max_len, "dropout": 0.02}
    shape |= {"code_size": PretrainOptions.code_size}
    network = count_tokens(CellBert(make_config(n_tokens, NetworkShape(objective=objective, **shape))))
    tokens = np.minimum(store.lengths, loop.max_len).sum()
    epochs = (loop.steps + WARM_UP) * loop.batch_tokens / tokens
    given = {"objective": objective, "epochs": epochs, "batch_tokens": loop.batch_tokens}
    asked = PretrainOptions(**shape | given | {"eval_steps": 10**6, "save_steps": 10**6})
    options = RunOptions.of(asked, {}, seed=0, dtype=dtype)
    cells = np.arange(len(store))
    processes = Processes(device=loop.device)
    train_network(network, store, cells, cells[:8], folder=folder, options=options, processes=processes)
