"""Preprocessing: counts become ranked tokens, labels become terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._harmonize_labels import harmonize_labels as harmonize_labels
    from ._tokenize import tokenize as tokenize

__getattr__, __dir__, __all__ = attach(
    __name__, names={"harmonize_labels": "_harmonize_labels", "tokenize": "_tokenize"}
)
