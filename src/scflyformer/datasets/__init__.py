"""Demonstration data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._fly_brain_simulated import fly_brain_simulated as fly_brain_simulated

__getattr__, __dir__, __all__ = attach(__name__, names={"fly_brain_simulated": "_fly_brain_simulated"})
