"""What a pretraining run is made of: everything that changes its result, in one record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainOptions:
    """Settings of a run; written beside its checkpoints, so that only the same run is resumed."""

    objective: str
    hidden_size: int
    n_layers: int
    n_heads: int
    feed_forward: int
    max_len: int
    dropout: float
    epochs: float
    batch_tokens: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    eval_steps: int
    save_steps: int
    seed: int
    dtype: str
