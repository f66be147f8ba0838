"""Settings of a pretraining run by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from scflyformer.training._options import PretrainOptions, given_options

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Arguments of `tl.pretrain`, and the options of its record, that a recipe sets."""

    arguments: Mapping[str, Any]
    options: PretrainOptions


RECIPES = {
    "afca": Recipe(
        arguments={
            "sample_key": "batch",
            "validation": 0.05,
            "gene_key": "FBgn",
            "min_cells": 10,
            "weights": "float16",
        },
        options=PretrainOptions(
            objective="cell",
            hidden_size=192,
            n_layers=4,
            n_heads=3,
            max_len=2048,
            bert_len=256,
            dropout=0.0,
            code_size=160,
            n_directions=352,
            code_epochs=10,
            epochs=3.0,
            batch_tokens=24_576,
            gradient_accumulation_steps=1,
            learning_rate=1.2e-3,
            warmup_steps=200,
            weight_decay=0.001,
            eval_steps=500,
            save_steps=500,
        ),
    )
}
"""``"afca"`` is the shape and the steps of the shipped `fly`, over three times as many passes."""


def by_recipe(function: Callable[P, R]) -> Callable[P, R]:
    """Let `tl.pretrain` take what its recipe sets, where the call does not say otherwise."""

    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> R:
        name = given.get("recipe")
        if name is not None:
            if name not in RECIPES:
                raise ValueError(f"recipe={name!r} is unknown; expected one of {', '.join(map(repr, RECIPES))}.")
            recipe = RECIPES[name]
            options = PretrainOptions(**given_options(recipe.options) | given_options(given.get("options")))
            given = {**recipe.arguments, **given, "options": options}
        return function(*args, **given)

    return call
