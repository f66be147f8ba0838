"""The training loop: `transformers.Trainer` fed by token-budget batches, logged, checkpointed and exactly resumed."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from scflyformer import _log
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.models._model import quiet_transformers
from scflyformer.training._objective import MaskedCells, TokenBudgetBatches, losses

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.network._network import CellBert
    from scflyformer.training._options import PretrainOptions
    from scflyformer.training._store import TokenStore

_VALIDATION_BATCHES = 40


class _Progress(TrainerCallback):
    """A bar in steps with the latest losses beside it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = _log.progress(total=state.max_steps, initial=state.global_step, desc="pretraining", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        shown = {name: f"{value:.3f}" for name, value in (logs or {}).items() if name in ("loss", "eval_loss")}
        self.bar.set_postfix(shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


class PretrainingTrainer(Trainer):
    """`Trainer` whose batches come from a :class:`TokenStore` and whose log holds each part of the loss."""

    def __init__(
        self, network: CellBert, args: TrainingArguments, batches: TokenBudgetBatches, data: MaskedCells,
        held_out: TokenBudgetBatches, held_out_data: MaskedCells,
    ) -> None:  # fmt: skip
        super().__init__(
            model=network, args=args, train_dataset=data, eval_dataset=held_out_data, data_collator=_as_is,
            callbacks=[_Progress()],
        )  # fmt: skip
        self.batches, self.data = batches, data
        self.held_out, self.held_out_data = held_out, held_out_data
        self.network = network
        self._parts: dict[str, list[torch.Tensor]] = {}

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return all batches of the run as one pass, so that resuming is skipping."""
        loader = torch.utils.data.DataLoader(self.data, batch_sampler=self.batches, collate_fn=_as_is)
        return self.accelerator.prepare(loader)

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch and remember its parts for the log."""
        parts = losses(model, inputs)
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(value.detach())
        return (parts["loss"], parts) if return_outputs else parts["loss"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of each part of the loss since the last entry."""
        if "loss" in logs:
            logs |= {name: float(torch.stack(values).mean()) for name, values in self._parts.items() if name != "loss"}
            self._parts.clear()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return held-out losses; the batches and their masks are the same every time."""
        found = held_out_losses(self.network, self.held_out, self.held_out_data, device=self.args.device)
        metrics = {f"eval_{name}": value for name, value in found.items()}
        self.log(metrics)
        return metrics


def held_out_losses(
    network: CellBert, batches: TokenBudgetBatches, data: MaskedCells, *, device: torch.device
) -> dict[str, float]:
    """Average each loss over held-out batches, weighted by the tokens predicted."""
    was_training = network.training
    network.eval()
    sums: dict[str, float] = {}
    weight = 0
    with torch.inference_mode():
        for batch in islice(batches, _VALIDATION_BATCHES):
            tensors = {name: value.to(device) for name, value in data.__getitems__(batch).items()}
            n_predicted = len(tensors["targets"])
            for name, value in losses(network, tensors).items():
                sums[name] = sums.get(name, 0.0) + float(value) * n_predicted
            weight += n_predicted
    network.train(was_training)
    return {name: value / weight for name, value in sums.items()}


def unigram_losses(
    store: TokenStore, train_cells: np.ndarray, batches: TokenBudgetBatches, data: MaskedCells
) -> dict[str, float]:
    """Return what a predictor that knows only gene frequencies reaches on the same held-out masks.

    Returns
    -------
    unigram
        Cross-entropy under the genes' frequency in all training tokens, nats.
    unigram_by_source
        The stronger one: under the frequency within the cell's own source, nats.
    """
    n_genes = store.panels.shape[1]
    counts = np.ones((len(store.panels), n_genes)) * store.panels
    longest = store.lengths.max() if data.objective == "cell" else data.max_len  # what masks are drawn from
    for start in range(0, len(train_cells), 8192):
        cells = train_cells[start : start + 8192]
        rows = store.rows(cells).cut(longest)
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


def _last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint; one that the process died in, whose state is written last, is removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.partition("-")[2])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def _as_is(batch: Any) -> Any:
    return batch


def train(
    network: CellBert,
    store: TokenStore,
    train_cells: np.ndarray,
    held_out_cells: np.ndarray,
    *,
    folder: Path,
    options: PretrainOptions,
    device: str,
) -> tuple[CellBert, list[dict[str, float]], dict[str, float]]:
    """Train, going on from the last checkpoint in ``folder`` where there is one.

    Returns
    -------
    The network, the log (one dict an entry), and the held-out losses of network and unigram baselines with the number
    of cells they were computed on: the first batches of the held-out cells in random order.
    """
    sampling = {"max_len": network.max_len, "seed": options.seed}
    batches = TokenBudgetBatches(store, train_cells, batch_tokens=options.batch_tokens, **sampling)
    batches.n_batches = max(round(batches.per_pass * options.epochs), 1)
    held_out = TokenBudgetBatches(store, held_out_cells, batch_tokens=options.batch_tokens, **sampling)
    data = MaskedCells(store, objective=options.objective, subsample=True, **sampling)
    held_out_data = MaskedCells(store, objective=options.objective, subsample=False, **sampling)
    args = TrainingArguments(
        output_dir=str(folder),
        max_steps=batches.n_batches,
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=min(options.warmup_steps, batches.n_batches // 4),
        weight_decay=options.weight_decay,
        max_grad_norm=1.0,
        logging_steps=max(min(50, batches.n_batches // 10), 1),
        eval_strategy="steps",
        eval_steps=options.eval_steps,
        save_strategy="steps",
        save_steps=options.save_steps,
        save_total_limit=2,
        seed=options.seed,
        use_cpu=device == "cpu",
        bf16=options.dtype == "bfloat16",
        fp16=options.dtype == "float16",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["targets"],
    )
    args._n_gpu = min(args.n_gpu, 1)  # with more, the Trainer would cut batches that are already whole
    with quiet_transformers():
        trainer = PretrainingTrainer(network, args, batches, data, held_out, held_out_data)
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    network = trainer.accelerator.unwrap_model(trainer.network).float()
    found = held_out_losses(network, held_out, held_out_data, device=args.device)
    found |= unigram_losses(store, train_cells, held_out, held_out_data)
    found.pop("loss")
    found["n_cells_scored"] = sum(len(batch) - 1 for batch in islice(held_out, _VALIDATION_BATCHES))
    # To the Trainer the run is one pass; to the reader a pass is once through the cells.
    log = [entry | {"epoch": entry["step"] / batches.per_pass} for entry in trainer.state.log_history]
    return network, log, found
