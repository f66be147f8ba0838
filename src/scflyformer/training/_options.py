"""What a pretraining run is made of: everything that changes its result, in one record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, ParamSpec, Self, TypeVar

from scflyformer._deprecated import warn_deprecated

P = ParamSpec("P")
R = TypeVar("R")
OBJECTIVES = ("cell", "mlm")
_COUNTS = (
    "hidden_size", "n_layers", "n_heads", "max_len", "bert_len", "batch_tokens", "gradient_accumulation_steps",
    "eval_steps", "save_steps",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """How a model is pretrained: what it learns, its shape, and the steps of training.

    Parameters
    ----------
    objective
        ``"cell"``: masked genes, each with its value, and a cell token from which the expression profile is decoded and
        which must, where there is a profile code, find the rest of a cell's counts from a random part of them.
        ``"mlm"``: masked genes alone, the article's recipe.
    hidden_size, n_layers, n_heads, feed_forward
        Shape of the network; ``feed_forward`` is twice the width where `None`.
    max_len, bert_len
        How many of a cell's genes the model reads, the highest ranked: the profile code up to ``max_len``, BERT, whose
        time grows with it, up to ``bert_len``. With ``objective="mlm"`` BERT reads ``max_len``.
    dropout
        Share of hidden values set to zero in training.
    code_size, n_directions
        Sizes of the profile code, which is read off the values of all genes and stands next to the cell token in the
        embedding: ``n_directions`` directions of expression, then ``code_size`` numbers of a small network that reads
        all genes. At most the number of genes; ``code_size=0`` for no code; unused with ``objective="mlm"``.
    code_epochs
        Passes over the cells in which that small network is fitted, before the rest of the network trains; the
        directions take one.
    epochs
        Passes over the training cells; may be a fraction of one.
    batch_tokens
        Tokens a batch, over all processes, and at most one cell more.
    gradient_accumulation_steps
        Batches a step: trains as ``batch_tokens`` times this would, in the memory of one.
    learning_rate, warmup_steps, weight_decay
        AdamW, linear warm-up and linear decay to zero.
    eval_steps, save_steps
        Steps between held-out losses, which are also computed after the last step, and between checkpoints.

    Raises
    ------
    ValueError
        When an option is out of its range.

    Examples
    --------
    >>> import scflyformer as sf
    >>> options = sf.tl.PretrainOptions(hidden_size=32, n_layers=1, epochs=3)
    >>> options.hidden_size, options.learning_rate
    (32, 0.001)
    """

    objective: Literal["cell", "mlm"] = "cell"
    hidden_size: int = 192
    n_layers: int = 4
    n_heads: int = 4
    feed_forward: int | None = None
    max_len: int = 2048
    bert_len: int = 256
    dropout: float = 0.02
    code_size: int = 160
    n_directions: int = 352
    code_epochs: int = 10
    epochs: float = 1.0
    batch_tokens: int = 8192
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.001
    eval_steps: int = 500
    save_steps: int = 500

    def __new__(cls, **given: Any) -> Self:
        """Remember which options were given, which those of a recipe do not replace."""
        made = super().__new__(cls)
        object.__setattr__(made, "_given", tuple(given))
        return made

    def __post_init__(self) -> None:
        """Refuse what would fail, or train nothing, much later."""
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective={self.objective!r} is unknown; expected 'cell' or 'mlm'.")
        for name in _COUNTS:
            require_count(name, getattr(self, name), least=1)
        if self.feed_forward is not None:
            require_count("feed_forward", self.feed_forward, least=1)
        for name in ("warmup_steps", "code_size", "n_directions", "code_epochs"):
            require_count(name, getattr(self, name), least=0)
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


def given_options(options: PretrainOptions | None) -> dict[str, Any]:
    """Return the options that were given when the record was made."""
    names: tuple[str, ...] = () if options is None else options.__dict__["_given"]
    return {name: getattr(options, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class RunOptions(PretrainOptions):
    """Options of a run, with nothing left open; written with its checkpoints, so that only the same run is resumed.

    ``dtype`` is the number format to train in.
    """

    seed: int
    dtype: str

    def __post_init__(self) -> None:
        """Refuse a seed that torch or NumPy would."""
        super().__post_init__()
        require_count("seed", self.seed, least=0)
        if self.seed >= 2**32:
            raise ValueError(f"seed={self.seed} is too large; expected less than 2**32.")

    @classmethod
    def of(cls, options: PretrainOptions, shape: Mapping[str, float], *, seed: int, dtype: str) -> RunOptions:
        """Return the options with what they leave open filled in, and the ``shape`` of a model that is gone on from."""
        is_mlm = options.objective == "mlm"
        filled = {
            "feed_forward": 2 * options.hidden_size if options.feed_forward is None else options.feed_forward,
            "bert_len": options.max_len if is_mlm else min(options.bert_len, options.max_len),
            "n_directions": options.n_directions if options.code_size else 0,
        }
        return cls(**(asdict(options) | filled | dict(shape)), seed=seed, dtype=dtype)


def flat_options(function: Callable[P, R]) -> Callable[P, R]:
    """Let `tl.pretrain` take options one by one, as it did before they were a record; with a warning."""
    names = [field.name for field in fields(PretrainOptions)]

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> R:
        asked = {name: given.pop(name) for name in names if name in given}
        if asked:
            shown = ", ".join(f"{name}={value!r}" for name, value in asked.items())
            instead = f"Use options=sf.tl.PretrainOptions({shown})."
            warn_deprecated("tl.pretrain", "=..., ".join(asked), instead)
            given["options"] = PretrainOptions(**given_options(given.get("options")) | asked)
        return function(*args, **given)

    return call


def require_count(name: str, value: Any, *, least: int) -> None:
    """Raise a ValueError unless ``value`` is a whole number of at least ``least``."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
