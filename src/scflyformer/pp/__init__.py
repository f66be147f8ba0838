"""Preprocessing: counts become ranked tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._tokenize import tokenize as tokenize

__getattr__, __dir__, __all__ = attach(__name__, names={"tokenize": "_tokenize"})
