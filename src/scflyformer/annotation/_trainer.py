"""Passes over labelled cells that train a network and its readout."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from scflyformer import _log
from scflyformer.annotation._labelled import LabelledBatches, LabelledCells
from scflyformer.annotation._network import CellClassifier
from scflyformer.models._model import quiet_transformers
from scflyformer.network._device import pick_place
from scflyformer.training._trainer import _as_is, fit_for_cpu_bfloat16

if TYPE_CHECKING:
    import numpy as np

    from scflyformer._running import Running
    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead
    from scflyformer.tokens._rows import TokenRows


@dataclass(frozen=True)
class FinetuneOptions:
    """Settings of a run.

    Attributes
    ----------
    epochs
        Passes over the training cells at most.
    learning_rate, head_learning_rate
        Highest learning rates of the network and of the readout.
    batch_cells
        Cells a step.
    n_tokens
        Genes of a cell that BERT reads in a step, drawn anew each time; the profile code reads all that are not hidden.
    gene_dropout
        Largest share of a cell's genes that are hidden; each cell's is drawn.
    label_smoothing, weight_decay, seed
        As usual.
    """

    epochs: int = 3
    learning_rate: float = 2e-4
    head_learning_rate: float = 3e-5
    batch_cells: int = 64
    n_tokens: int = 128
    gene_dropout: float = 0.2
    label_smoothing: float = 0.0
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FinetuneTask:
    """What all runs of a call share.

    Attributes
    ----------
    model
        Gives the frozen network, of which copies are trained, and its pooling.
    rows
        Ranked cells.
    y
        Class codes, shape (n_cells,).
    options, running
        Settings of the training, and how the network runs.
    """

    model: Model
    rows: TokenRows
    y: np.ndarray
    options: FinetuneOptions
    running: Running

    def classifier(self, head: LinearHead) -> CellClassifier:
        """Return a copy of the frozen network that ends in a readout, for training."""
        network = copy.deepcopy(self.model.network())
        return CellClassifier(network, head, label_smoothing=self.options.label_smoothing)


def train_passes(
    task: FinetuneTask,
    classifier: CellClassifier,
    train: np.ndarray,
    after_pass: Callable[[int], None],
    *,
    stop: int | None = None,
) -> None:
    """Train in place, calling ``after_pass`` with the number of each; end after the pass ``stop`` of the schedule."""
    options, network = task.options, classifier.network
    device, dtype = pick_place(task.running)
    rows = task.rows.cut(network.max_len)
    batches = LabelledBatches(
        rows.lengths, train, batch_cells=options.batch_cells, n_passes=options.epochs, seed=options.seed
    )
    data = LabelledCells(
        rows, task.y, n_genes=network.n_genes, n_tokens=options.n_tokens, bert_len=network.bert_len,
        gene_dropout=options.gene_dropout, seed=options.seed,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(
        [
            {"params": network.parameters(), "lr": options.learning_rate},
            {"params": [classifier.weight, classifier.bias], "lr": options.head_learning_rate},
        ],
        weight_decay=options.weight_decay,
    )
    with tempfile.TemporaryDirectory() as scratch, quiet_transformers():
        args = TrainingArguments(
            output_dir=scratch,
            max_steps=len(batches),
            lr_scheduler_type="linear",
            warmup_steps=len(batches) // 20,
            max_grad_norm=1.0,
            eval_strategy="no",
            save_strategy="no",
            logging_strategy="no",
            seed=options.seed,
            use_cpu=device.type == "cpu",
            bf16=dtype == torch.bfloat16,
            fp16=dtype == torch.float16,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        args._n_gpu = min(args.n_gpu, 1)
        if device.type == "cpu" and args.bf16:
            fit_for_cpu_bfloat16(network)
        trainer = _Finetuning(
            batches, model=classifier, args=args, train_dataset=data, optimizers=(optimizer, None),
            callbacks=[_Passes(batches.per_pass, after_pass, stop)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    network.set_attn_implementation("sdpa")


class _Finetuning(Trainer):
    """`Trainer` over :class:`LabelledBatches`."""

    def __init__(self, batches: LabelledBatches, **trainer: Any) -> None:
        super().__init__(data_collator=_as_is, **trainer)
        self.batches, self.data = batches, trainer["train_dataset"]

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return all batches of the run as one pass."""
        return torch.utils.data.DataLoader(self.data, batch_sampler=self.batches, collate_fn=_as_is)


class _Passes(TrainerCallback):
    """A bar in steps, a call after each pass, and an end."""

    def __init__(self, per_pass: int, after_pass: Callable[[int], None], stop: int | None) -> None:
        self.per_pass, self.after_pass, self.stop = per_pass, after_pass, stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = _log.progress(
            total=self.per_pass * self.stop if self.stop else state.max_steps, desc="fine-tuning", unit="step"
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(1)
        if state.global_step % self.per_pass == 0:
            self.after_pass(state.global_step // self.per_pass)
            control.should_training_stop |= state.global_step // self.per_pass == self.stop

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
