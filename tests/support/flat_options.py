"""`tl.pretrain` with options and settings one by one, as tests write them down."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import scflyformer as sf

OPTIONS = {field.name for field in fields(sf.tl.PretrainOptions)}
SETTINGS = ("device", "dtype", "synonyms")


def pretrain(source: Any, *, out: Any, **asked: Any) -> None:
    """Call `tl.pretrain` with what it takes itself, the rest in its options and in the settings."""
    settings = {name: asked.pop(name) for name in SETTINGS if name in asked}
    options = {name: asked.pop(name) for name in OPTIONS & asked.keys()}
    with sf.settings.override(**settings):
        return sf.tl.pretrain(source, out=out, options=sf.tl.PretrainOptions(**options), **asked)
