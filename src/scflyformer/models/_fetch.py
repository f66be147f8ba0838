"""Have a model on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def fetch(name: str) -> Path:
    """Have a model on disk: download it unless it is there, and check it.

    Parameters
    ----------
    name
        A name of :func:`scflyformer.models.list`, looked up in the folders of `SCFLYFORMER_MODELS`, then in the
        package, then in the source tree that the package runs from, then at its address. What is downloaded is kept
        in the cache (`SCFLYFORMER_CACHE`).

    Returns
    -------
    The model folder.

    Raises
    ------
    ModelNameError
        For a name that stands for no model or an unreleased one. A `ValueError`.
    ModelFolderError
        When what is on disk is not a whole model folder. A `ValueError`.
    ModelFetchError
        For a model that could not be fetched, with the way to fetch it by hand. A `RuntimeError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> folder = sf.models.fetch("fly-tiny")
    >>> sorted(file.name for file in folder.glob("*.json"))
    ['config.json', 'metrics.json', 'provenance.json']
    """
    from ._errors import ModelNameError
    from ._locate import is_path, open_model

    if is_path(name):
        raise ModelNameError(f"{name!r} is a path; expected a name of scflyformer.models.list(). Open it with load.")
    return open_model(name).path
