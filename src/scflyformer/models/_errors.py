"""What goes wrong with models, by name."""

from __future__ import annotations


class ModelFolderError(ValueError):
    """A folder is not a model folder of this package, or it is damaged."""


class ModelNameError(ValueError):
    """A name stands for no model, for an unreleased one, or for more than one."""


class RegistryError(ValueError):
    """A registry file does not say what it should."""


class ModelFetchError(RuntimeError):
    """A model could not be fetched."""
