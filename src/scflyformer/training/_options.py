"""What a pretraining run is made of: everything that changes its result, in one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OBJECTIVES = ("cell", "mlm")
_COUNTS = (
    "hidden_size", "n_layers", "n_heads", "feed_forward", "max_len", "bert_len", "batch_tokens",
    "gradient_accumulation_steps", "eval_steps", "save_steps",
)  # fmt: skip


@dataclass(frozen=True)
class PretrainOptions:
    """Settings of a run; written beside its checkpoints, so that only the same run is resumed.

    Raises
    ------
    ValueError
        When a setting is out of its range.
    """

    objective: str
    hidden_size: int
    n_layers: int
    n_heads: int
    feed_forward: int
    max_len: int
    bert_len: int
    dropout: float
    code_size: int
    n_directions: int
    code_epochs: int
    epochs: float
    batch_tokens: int
    gradient_accumulation_steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    eval_steps: int
    save_steps: int
    seed: int
    dtype: str

    def __post_init__(self) -> None:
        """Refuse what would fail, or train nothing, much later."""
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective={self.objective!r} is unknown; expected 'cell' or 'mlm'.")
        for name in _COUNTS:
            require_count(name, getattr(self, name), least=1)
        for name in ("warmup_steps", "seed", "code_size", "n_directions", "code_epochs"):
            require_count(name, getattr(self, name), least=0)
        if self.seed >= 2**32:
            raise ValueError(f"seed={self.seed} is too large; expected less than 2**32.")
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size={self.hidden_size} must be a multiple of n_heads={self.n_heads}.")
        if self.n_directions < self.code_size:
            raise ValueError(f"n_directions={self.n_directions} must be at least code_size={self.code_size}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r} must be at least 0 and below 1.")
        for name in ("epochs", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)!r} must be a number above 0.")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay={self.weight_decay!r} must be a number of at least 0.")


def require_count(name: str, value: Any, *, least: int) -> None:
    """Raise a ValueError unless ``value`` is a whole number of at least ``least``."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
