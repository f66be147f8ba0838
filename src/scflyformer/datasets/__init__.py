"""Demonstration data: real and simulated cells, summaries of real clusters, and published atlases from their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._afca import afca as afca
    from ._fca import fca as fca
    from ._fly_brain_simulated import fly_brain_simulated as fly_brain_simulated
    from ._flybase_clusters import flybase_clusters as flybase_clusters
    from ._olfactory_neurons import olfactory_neurons as olfactory_neurons

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={
        "afca": "_afca",
        "fca": "_fca",
        "fly_brain_simulated": "_fly_brain_simulated",
        "flybase_clusters": "_flybase_clusters",
        "olfactory_neurons": "_olfactory_neurons",
    },
)
