"""Fine-tune a network and a linear readout on labelled cells, and keep what held-out cells bear out."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from scflyformer import _log
from scflyformer.annotation._labelled import LabelledBatches, LabelledCells
from scflyformer.annotation._network import CellClassifier
from scflyformer.models._model import quiet_transformers
from scflyformer.network._device import pick_place
from scflyformer.network._infer import Pooling, embed_rows
from scflyformer.network._randomness import own_randomness
from scflyformer.stats._classification import IMPOSSIBLE, fit_temperature
from scflyformer.stats._logistic import held_out_loss
from scflyformer.training._trainer import _as_is, fit_for_cpu_bfloat16

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.network._network import CellBert
    from scflyformer.stats._linear import LinearHead
    from scflyformer.tokens._rows import TokenRows

SHARES = (0.25, 0.5, 0.75)
"""Places between the frozen network (0) and the fine-tuned one (1) that are tried (Wortsman et al. 2022)."""


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
class Finetuned:
    """What a run ends with.

    Attributes
    ----------
    network, head
        The network and the readout on its embedding.
    logits
        Of the held-out cells, float64, shape (n_check, n_classes).
    epoch, share
        After which pass, and how far from the frozen weights towards those; both 0 where nothing lowered the held-out
        loss: then the network is the frozen one.
    losses
        Held-out loss at the best temperature, nats: of the frozen network, after each pass, and of the kept one.
    """

    network: CellBert
    head: LinearHead
    logits: np.ndarray
    epoch: int
    share: float
    losses: list[float]


@own_randomness()
def finetune(
    network: CellBert,
    head: LinearHead,
    rows: TokenRows,
    y: np.ndarray,
    *,
    train: np.ndarray,
    check: np.ndarray,
    start: np.ndarray,
    options: FinetuneOptions,
    pooling: Pooling,
    running: Running,
) -> Finetuned:
    """Fine-tune from a readout fitted on the frozen network (Kumar et al. 2022).

    Parameters
    ----------
    network
        The frozen network; a copy is trained.
    head
        A readout of its embedding, fitted on the cells ``train``.
    rows
        Ranked cells.
    y
        Class codes, shape (n_cells,).
    train, check
        Positions of the cells to learn from and of those that decide what is kept.
    start
        Logits of ``head`` for the cells ``check``, shape (n_check, n_classes).
    options
        Settings.
    pooling, running
        As for :func:`scflyformer.network._infer.embed_rows`.

    Returns
    -------
    The network and the readout with the least loss on the held-out cells among the frozen ones, those after each pass,
    and weights between the best of these and the frozen ones.
    """
    rows = rows.cut(network.max_len)
    held_out, truth = rows.take(check), y[check]
    classifier = CellClassifier(copy.deepcopy(network), head, label_smoothing=options.label_smoothing)
    frozen = _weights(classifier)
    losses = [_calibrated_loss(start, truth)]
    best: tuple[float, np.ndarray, int, float, dict[str, torch.Tensor]] = (losses[0], start, 0, 0.0, frozen)

    def offer(epoch: int, share: float) -> float:
        nonlocal best
        training_attention = classifier.network.config._attn_implementation
        classifier.network.set_attn_implementation("sdpa")  # three times as fast forwards, where cells are long
        vectors = embed_rows(classifier.network, held_out, pooling=pooling, running=running)
        classifier.network.set_attn_implementation(training_attention)
        logits = classifier.readout()(vectors)
        loss = _calibrated_loss(logits, truth)
        if loss < best[0]:
            best = (loss, logits, epoch, share, _weights(classifier))
        return loss

    def judge(epoch: int) -> None:
        losses.append(offer(epoch, 1.0))
        _log.info(f"annotate: pass {epoch} of {options.epochs}, loss {losses[-1]:.4f} (frozen {losses[0]:.4f})")

    _train(classifier, rows, y, train, options, judge, running=running)
    epoch, tuned = (best[2], best[4]) if best[2] else (options.epochs, _weights(classifier))
    for share in SHARES:
        _move(classifier, frozen, tuned, share)
        offer(epoch, share)
    classifier.load_state_dict(best[4])
    losses.append(best[0])
    return Finetuned(classifier.network.eval(), classifier.readout(), best[1], best[2], best[3], losses)


@own_randomness()
def refit(
    network: CellBert,
    head: LinearHead,
    rows: TokenRows,
    y: np.ndarray,
    *,
    train: np.ndarray,
    epoch: int,
    share: float,
    options: FinetuneOptions,
    running: Running,
) -> tuple[CellBert, LinearHead]:
    """Fine-tune on all cells, as far as runs with held-out cells bore out.

    Parameters
    ----------
    network, head, rows, y, options, running
        As for :func:`finetune`.
    train
        Positions of the cells to learn from.
    epoch, share
        After which pass to stop, and how far from the frozen weights towards those of then to go.

    Returns
    -------
    The network and the readout.
    """
    classifier = CellClassifier(copy.deepcopy(network), head, label_smoothing=options.label_smoothing)
    frozen = _weights(classifier)
    rows = rows.cut(network.max_len)
    _train(classifier, rows, y, train, options, lambda _: None, stop=epoch, running=running)
    tuned = _weights(classifier)
    _move(classifier, frozen, tuned, share)
    return classifier.network.eval(), classifier.readout()


def _calibrated_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the loss at the best temperature: confidence is set right later, and no reason to keep weights."""
    learnt = logits[np.arange(len(truth)), truth] > IMPOSSIBLE / 2
    return held_out_loss(logits[learnt] / fit_temperature(logits, truth), truth[learnt])


def _weights(classifier: CellClassifier) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()}


def _move(
    classifier: CellClassifier, frozen: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], share: float
) -> None:
    """Set the weights that lie ``share`` of the way from the frozen to the tuned ones."""
    classifier.load_state_dict({name: torch.lerp(frozen[name], tuned[name], share) for name in frozen})


def _train(
    classifier: CellClassifier,
    rows: TokenRows,
    y: np.ndarray,
    train: np.ndarray,
    options: FinetuneOptions,
    judge: Callable[[int], None],
    *,
    stop: int | None = None,
    running: Running,
) -> None:
    """Train in place, calling ``judge`` after each pass; end after the pass ``stop`` of the same schedule."""
    device, dtype = pick_place(running)
    batches = LabelledBatches(
        rows.lengths, train, batch_cells=options.batch_cells, n_passes=options.epochs, seed=options.seed
    )
    data = LabelledCells(
        rows, y, n_genes=classifier.network.n_genes, n_tokens=options.n_tokens,
        bert_len=classifier.network.bert_len, gene_dropout=options.gene_dropout,
        seed=options.seed,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(
        [
            {"params": classifier.network.parameters(), "lr": options.learning_rate},
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
            fit_for_cpu_bfloat16(classifier.network)
        trainer = _Finetuning(
            batches, model=classifier, args=args, train_dataset=data, optimizers=(optimizer, None),
            callbacks=[_Passes(batches.per_pass, judge, stop)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    classifier.network.set_attn_implementation("sdpa")


class _Finetuning(Trainer):
    """`Trainer` over :class:`LabelledBatches`."""

    def __init__(self, batches: LabelledBatches, **trainer: Any) -> None:
        super().__init__(data_collator=_as_is, **trainer)
        self.batches, self.data = batches, trainer["train_dataset"]

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return all batches of the run as one pass."""
        return torch.utils.data.DataLoader(self.data, batch_sampler=self.batches, collate_fn=_as_is)


class _Passes(TrainerCallback):
    """A bar in steps, a verdict after each pass, and an end."""

    def __init__(self, per_pass: int, judge: Callable[[int], None], stop: int | None) -> None:
        self.per_pass, self.judge, self.stop = per_pass, judge, stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = _log.progress(
            total=self.per_pass * self.stop if self.stop else state.max_steps, desc="fine-tuning", unit="step"
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(1)
        if state.global_step % self.per_pass == 0:
            self.judge(state.global_step // self.per_pass)
            control.should_training_stop |= state.global_step // self.per_pass == self.stop

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
