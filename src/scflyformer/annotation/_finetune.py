"""Fine-tune a network and a linear readout on labelled cells, and keep what held-out cells bear out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scflyformer import _log
from scflyformer.annotation._trainer import FinetuneTask, train_passes
from scflyformer.network._infer import embed_rows
from scflyformer.network._randomness import own_randomness
from scflyformer.stats._classification import IMPOSSIBLE, fit_temperature
from scflyformer.stats._logistic import held_out_loss

if TYPE_CHECKING:
    from scflyformer.annotation._network import CellClassifier
    from scflyformer.network._network import CellBert
    from scflyformer.stats._linear import LinearHead

SHARES = (0.25, 0.5, 0.75)
"""Places between the frozen network (0) and the fine-tuned one (1) that are tried (Wortsman et al. 2022)."""


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


class _Best:
    """The weights with the least loss on held-out cells so far; at first the frozen ones."""

    def __init__(self, task: FinetuneTask, classifier: CellClassifier, check: np.ndarray, start: np.ndarray) -> None:
        self.task, self.classifier = task, classifier
        self.held_out, self.truth = task.rows.take(check).cut(classifier.network.max_len), task.y[check]
        self.loss, self.logits = _calibrated_loss(start, self.truth), start
        self.epoch, self.share, self.weights = 0, 0.0, _weights(classifier)
        self.losses = [self.loss]

    def offer(self, epoch: int, share: float) -> float:
        """Return the loss of the classifier as it stands, and keep its weights where it is the least."""
        network, task = self.classifier.network, self.task
        training_attention = network.config._attn_implementation
        network.set_attn_implementation("sdpa")  # three times as fast forwards, where cells are long
        vectors = embed_rows(network, self.held_out, pooling=task.model.pooling, running=task.running)
        network.set_attn_implementation(training_attention)
        logits = self.classifier.readout()(vectors)
        loss = _calibrated_loss(logits, self.truth)
        if loss < self.loss:
            self.loss, self.logits, self.epoch, self.share = loss, logits, epoch, share
            self.weights = _weights(self.classifier)
        return loss

    def after_pass(self, epoch: int) -> None:
        """Offer the weights after a pass, and log their loss."""
        losses = self.losses
        losses.append(self.offer(epoch, 1.0))
        n_passes = self.task.options.epochs
        _log.info(f"annotate: pass {epoch} of {n_passes}, loss {losses[-1]:.4f} (frozen {losses[0]:.4f})")


@own_randomness()
def finetune(
    task: FinetuneTask, head: LinearHead, *, train: np.ndarray, check: np.ndarray, start: np.ndarray
) -> Finetuned:
    """Fine-tune from a readout fitted on the frozen network (Kumar et al. 2022).

    What is kept has the least loss on the held-out cells among the frozen weights, those after each pass, and those
    between the best of these and the frozen ones.

    Parameters
    ----------
    head
        A readout of the frozen embedding, fitted on the cells ``train``.
    train, check
        Positions of the cells to learn from and of those that decide what is kept.
    start
        Logits of ``head`` for the cells ``check``, shape (n_check, n_classes).
    """
    classifier = task.classifier(head)
    best = _Best(task, classifier, check, start)
    frozen = best.weights
    train_passes(task, classifier, train, best.after_pass)
    epoch, tuned = (best.epoch, best.weights) if best.epoch else (task.options.epochs, _weights(classifier))
    for share in SHARES:
        _move(classifier, frozen, tuned, share)
        best.offer(epoch, share)
    classifier.load_state_dict(best.weights)
    losses = [*best.losses, best.loss]
    return Finetuned(classifier.network.eval(), classifier.readout(), best.logits, best.epoch, best.share, losses)


@own_randomness()
def refit(
    task: FinetuneTask, head: LinearHead, *, train: np.ndarray, epoch: int, share: float
) -> tuple[CellBert, LinearHead]:
    """Return network and readout fine-tuned on all cells, as far as runs with held-out cells bore out.

    Parameters
    ----------
    epoch, share
        After which pass to stop, and how far from the frozen weights towards those of then to go.
    """
    classifier = task.classifier(head)
    frozen = _weights(classifier)
    train_passes(task, classifier, train, lambda _: None, stop=epoch)
    _move(classifier, frozen, _weights(classifier), share)
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
