"""The training loop: `transformers.Trainer` fed by token-budget batches, logged, checkpointed and exactly resumed."""

from __future__ import annotations

import os
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from scflyformer import _log
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.models._model import quiet_transformers
from scflyformer.training._batches import MaskedBatches, OwnCells, TokenBudgetBatches, part_of
from scflyformer.training._checkpoints import BestWeights, last_checkpoint
from scflyformer.training._objective import MaskedCells, losses
from scflyformer.training._prepare import BEST, STEPS
from scflyformer.training._processes import Processes

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.network._network import CellBert
    from scflyformer.training._options import RunOptions
    from scflyformer.training._store import TokenStore

_VALIDATION_BATCHES = 40


class _Progress(TrainerCallback):
    """A bar in steps with the latest losses beside it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = _log.progress(total=state.max_steps, initial=state.global_step, desc="pretraining", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(1)
        control.should_evaluate |= state.global_step >= state.max_steps  # the last weights may be the best

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        shown = {name: f"{value:.3f}" for name, value in (logs or {}).items() if name in ("loss", "eval_loss")}
        self.bar.set_postfix(shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


class PretrainingTrainer(Trainer):
    """`Trainer` whose batches come from a :class:`TokenStore` and whose log holds each part of the loss.

    A batch is that of a whole step. Processes share its cells, and each runs its own in ``n_parts`` parts, so that
    neither number changes the result; to the Trainer a step is one batch.
    """

    def __init__(
        self,
        network: CellBert,
        args: TrainingArguments,
        training: MaskedBatches,
        held_out: MaskedBatches,
        *,
        best: BestWeights,
        n_parts: int,
        processes: Processes,
    ) -> None:
        super().__init__(
            model=network, args=args, train_dataset=training.data, eval_dataset=held_out.data, data_collator=_as_is,
            callbacks=[_Progress()],
        )  # fmt: skip
        self.network, self.train_batches, self.held_out = network, training, held_out
        self.best, self.n_parts, self.processes = best, n_parts, processes
        self._parts: dict[str, list[torch.Tensor]] = {}

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return all batches of the run as one pass, so that resuming is skipping."""
        return torch.utils.data.DataLoader(
            OwnCells(self.train_batches.data, rank=self.processes.rank, count=self.processes.count),
            batch_sampler=self.train_batches.batches,
            collate_fn=_as_is,
            num_workers=self.processes.n_readers,
            pin_memory=self.args.device.type == "cuda",
        )

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """Add up the gradients of the parts of a batch; return its loss and remember what it is made of for the log."""
        model.train()
        share = float(inputs.pop("share")) * self.processes.count  # gradients are averaged over processes
        batch = {name: tensor.to(self.args.device, non_blocking=True) for name, tensor in inputs.items()}
        n_parts = min(self.n_parts, len(batch["tokens"]))
        sums: dict[str, torch.Tensor] = {}
        for number in range(n_parts):
            part, share_of_batch = part_of(batch, number, n_parts)
            with nullcontext() if number == n_parts - 1 else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    weighted = {name: value * (share_of_batch * share) for name, value in losses(model, part).items()}
                self.accelerator.backward(weighted["loss"])
            for name, value in weighted.items():
                sums[name] = sums.get(name, 0.0) + value.detach()
        for name, value in sums.items():
            self._parts.setdefault(name, []).append(value)
        return sums["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of each part of the loss since the last entry."""
        if "loss" in logs:
            means = {name: float(torch.stack(values).mean()) for name, values in self._parts.items() if name != "loss"}
            every = self.processes.gather(means)
            logs |= {name: sum(each[name] for each in every) / len(every) for name in means}
            self._parts.clear()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return held-out losses, the batches and their masks being the same every time; keep the best weights."""
        held_out = held_out_losses(self.network, *self.held_out, device=self.args.device, processes=self.processes)
        self.processes.from_first(lambda: self.best.offer(self.network, self.state.global_step, held_out))
        metrics = {f"eval_{name}": value for name, value in held_out.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait for the random states of all processes: the file that says a checkpoint is whole is written next."""
        super()._save_rng_state(output_dir)
        self.processes.gather(None)


def held_out_losses(
    network: CellBert,
    batches: TokenBudgetBatches,
    data: MaskedCells,
    *,
    device: torch.device,
    processes: Processes = Processes(),  # noqa: B008, it is frozen
) -> dict[str, float]:
    """Average each loss over held-out batches, weighted by the tokens predicted; processes share the batches."""
    was_training = network.training
    network.eval()
    sums: dict[str, float] = {}
    weight = 0
    with torch.inference_mode():
        for batch in islice(batches, processes.rank, _VALIDATION_BATCHES, processes.count):
            tensors = {name: value.to(device) for name, value in data.__getitems__(batch).items()}
            n_predicted = len(tensors["targets"])
            for name, value in losses(network, tensors).items():
                sums[name] = sums.get(name, 0.0) + float(value) * n_predicted
            weight += n_predicted
    network.train(was_training)
    every = processes.gather((sums, weight))
    total = sum(weight for _, weight in every)
    return {name: sum(sums.get(name, 0.0) for sums, _ in every) / total for name in every[0][0]}


def unigram_losses(
    store: TokenStore, train_cells: np.ndarray, batches: TokenBudgetBatches, data: MaskedCells
) -> dict[str, float]:
    """Return what a predictor that knows only gene frequencies reaches on the same held-out masks, nats.

    ``unigram`` is the cross-entropy under the genes' frequency in all training tokens, ``unigram_by_source``, the
    stronger one, under the frequency within the cell's own source.
    """
    n_genes = store.panels.shape[1]
    counts = np.ones((len(store.panels), n_genes)) * store.panels
    for start in range(0, len(train_cells), 8192):
        cells = train_cells[start : start + 8192]
        rows = store.rows(cells).cut(data.max_len)  # what masks are drawn from
        source = np.repeat(store.source[cells].astype(np.int64), rows.lengths)
        flat = np.bincount(source * n_genes + rows.tokens - N_SPECIAL, minlength=counts.size)
        counts += flat.reshape(counts.shape)
    every = np.maximum(counts.sum(0), 1)
    overall = np.log(every / every.sum())
    by_source = np.log(np.maximum(counts, 1e-9) / np.maximum(counts.sum(1, keepdims=True), 1))
    nats = {"unigram": 0.0, "unigram_by_source": 0.0}
    weight = 0
    for batch in islice(batches, _VALIDATION_BATCHES):
        tensors = data.__getitems__(batch)
        genes = tensors["targets"].numpy() - N_SPECIAL
        source = store.source[np.asarray(batch[1:])][np.nonzero(tensors["selected"].numpy())[0]]
        nats["unigram"] -= float(overall[genes].sum())
        nats["unigram_by_source"] -= float(by_source[source, genes].sum())
        weight += len(genes)
    return {name: value / weight for name, value in nats.items()}


def _as_is(batch: Any) -> Any:
    return batch


def fit_for_cpu_bfloat16(network: CellBert) -> None:
    """Set what makes training in bfloat16 on a CPU fast and small.

    torch's fused attention is slow backwards there, and oneDNN keeps kernels of 1,024 shapes, gigabytes of them.
    """
    network.set_attn_implementation("eager")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def train_network(
    network: CellBert,
    store: TokenStore,
    train_cells: np.ndarray,
    held_out_cells: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    folder: Path,
    options: RunOptions,
    processes: Processes = Processes(),  # noqa: B008, it is frozen
) -> tuple[CellBert, list[dict[str, float]], dict[str, float]]:
    """Train, going on from the last checkpoint in ``folder`` where there is one.

    Cells are told apart by the halves of their counts within ``groups``, shape (n_cells of the store,). Return the
    network, in the first process with the weights of the lowest held-out loss; the log, one dict an entry; and the
    held-out losses of that step beside those of unigram baselines, with its number and the number of cells scored: the
    first batches of the held-out cells in random order.
    """
    n_parts = options.gradient_accumulation_steps
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1] if network.finds_halves else None
    max_len = network.bert_len
    training = MaskedBatches.of(
        store, train_cells, options, n_parts=n_parts, max_len=max_len, subsample=True, groups=groups
    )
    held_out = MaskedBatches.of(
        store, held_out_cells, options, n_parts=1, max_len=max_len, subsample=False, groups=groups
    )
    batches = training.batches
    batches.n_batches = max(round(batches.per_pass * options.epochs), 1)
    args = _training_arguments(options, batches.n_batches, folder / STEPS, processes)
    if processes.device == "cpu" and args.bf16:
        fit_for_cpu_bfloat16(network)
    best = BestWeights(folder / BEST)
    with quiet_transformers():
        trainer = PretrainingTrainer(network, args, training, held_out, best=best, n_parts=n_parts, processes=processes)
        trainer.remove_callback(PrinterCallback)
        if processes.rank:
            torch.manual_seed(options.seed + processes.rank)  # dropout of its own
        checkpoint = processes.from_first(lambda: last_checkpoint(folder / STEPS))
        if checkpoint is not None:
            _log.info(f"pretrain: going on from {checkpoint}")
        trainer.train(resume_from_checkpoint=checkpoint)
    network = trainer.accelerator.unwrap_model(trainer.network).float()
    network.set_attn_implementation("sdpa")
    kept = processes.from_first(best.read)
    if kept is None:  # no loss was a number
        scores = held_out_losses(network, *held_out, device=args.device, processes=processes)
        step = batches.n_batches
    else:
        step, scores = kept
        processes.from_first(lambda: best.load(network))  # which alone writes the model
    scores |= processes.from_first(lambda: unigram_losses(store, train_cells, *held_out))
    scores.pop("loss")
    scores["step"] = step
    scores["n_cells_scored"] = sum(len(batch) - 1 for batch in islice(held_out.batches, _VALIDATION_BATCHES))
    # To the Trainer the run is one pass; to the reader a pass is once through the cells.
    log = [entry | {"epoch": entry["step"] / batches.per_pass} for entry in trainer.state.log_history]
    return network, log, scores


def _training_arguments(options: RunOptions, n_steps: int, folder: Path, processes: Processes) -> TrainingArguments:
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=n_steps,
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(options.warmup_steps, n_steps // 4),
        weight_decay=options.weight_decay,
        max_grad_norm=1.0,
        logging_steps=max(min(50, n_steps // 10), 1),
        eval_strategy="steps",
        eval_steps=options.eval_steps,
        save_strategy="steps",
        save_steps=options.save_steps,
        save_total_limit=2,
        seed=options.seed,
        use_cpu=processes.device == "cpu",
        bf16=options.dtype == "bfloat16",
        fp16=options.dtype == "float16",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["targets"],
        ddp_backend="gloo" if processes.device == "cpu" and processes.group is not None else None,
        ddp_find_unused_parameters=False,
    )
    args._n_gpu = min(args.n_gpu, 1)  # with more, the Trainer would cut batches that are already whole
    return args
