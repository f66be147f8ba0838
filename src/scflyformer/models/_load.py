"""Open a model by name or from its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from ._model import Model


def load(name_or_path: str | os.PathLike[str]) -> Model:
    """Open a model by name or from its folder.

    Parameters
    ----------
    name_or_path
        A name: looked up in the folders of `SCFLYFORMER_MODELS`, then in the package, then in `models/` of the source
        tree that the package runs from (if it is the registered model, by its hash), then fetched and kept in the
        cache (`SCFLYFORMER_CACHE`). A path object, or text with a separator, is always a folder. Text without one
        that no registry knows is a folder of `SCFLYFORMER_MODELS` or of the current one; a registered name never
        means a folder of the current one (for that, type ``"./name"``).

    Returns
    -------
    The model: `name`, `path`, `sha256`, `vocabulary`, `config`, `max_len` (gene tokens), `hidden_size`, `metrics`,
    `provenance`, and the method `network()`, which loads the weights when it is first called.

    Raises
    ------
    ModelNameError
        For a name that stands for no model, an unreleased one, or more than one. A `ValueError`.
    ModelFolderError
        For a folder that is missing, empty, foreign, incomplete or damaged. A `ValueError`.
    ModelFetchError
        For a model that could not be fetched, with the way to fetch it by hand. A `RuntimeError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> model = sf.models.load("fly-tiny")
    >>> model.name, model.max_len, model.embedding_size
    ('fly-tiny', 2048, 180)
    >>> model.metrics["held_out"]["split_unit"]
    'sample'

    The same model, by its folder:

    >>> sf.models.load(model.path).sha256 == model.sha256
    True
    """
    from ._locate import open_model

    return open_model(name_or_path)
