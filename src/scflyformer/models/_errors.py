"""What goes wrong with models, by name."""

from __future__ import annotations


class ModelFolderError(ValueError):
    """A folder is not a model folder of this package, or it is damaged.

    Examples
    --------
    >>> import scflyformer as sf
    >>> from pathlib import Path
    >>> Path("no-model").mkdir()
    >>> try:
    ...     sf.models.load("./no-model")
    ... except sf.models.ModelFolderError as error:
    ...     print(error)
    The folder ...no-model is empty; expected config.json, ...
    """


class ModelNameError(ValueError):
    """A name is that of no model, of an unreleased one, or of more than one.

    Examples
    --------
    >>> import scflyformer as sf
    >>> try:
    ...     sf.models.load("flyy")
    ... except sf.models.ModelNameError as error:
    ...     print(error)
    No model is named 'flyy', ... Registered: fly-tiny, fly. ...
    """


class RegistryError(ValueError):
    """A registry file does not say what it should.

    Examples
    --------
    >>> import scflyformer as sf
    >>> from pathlib import Path
    >>> size = Path("our-models.json").write_text("fly: models/fly")
    >>> try:
    ...     with sf.settings.override(registry_file="our-models.json"):
    ...         sf.models.list()
    ... except sf.models.RegistryError as error:
    ...     print(error)
    The registry file our-models.json is not JSON (...).
    """


class ModelFetchError(RuntimeError):
    """A model could not be fetched.

    Examples
    --------
    Without a network the message says how to fetch the model by hand.

    >>> import scflyformer as sf
    >>> try:
    ...     folder = sf.models.fetch("fly-tiny")
    ... except sf.models.ModelFetchError as error:
    ...     print(error)
    >>> folder.name
    'fly-tiny'
    """
