"""Whether a model has learnt labels, so that no sample that it learnt from is held out from it any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scflyformer import _log
from scflyformer.annotation._saved import FILE

if TYPE_CHECKING:
    from scflyformer.models import Model


def tuned_on(model: Model | None, made: Mapping[str, Any]) -> str:
    """Return the column of labels that a model was fine-tuned on, or an empty text.

    ``made`` is what `uns` says of the embedding, where the model cannot be opened. A classifier whose network is the
    frozen one has taught it nothing.
    """
    folder = model.path if model is not None else made.get("model_folder")
    file = Path(str(folder)) / FILE if folder else None
    if file is None or not file.is_file():
        return ""
    content = json.loads(file.read_text(encoding="utf-8"))
    return str(content.get("label_key") or "labels") if content.get("notes", {}).get("share") else ""


def warn_of_tuned(model: Model | None, made: Mapping[str, Any], *, tool: str) -> dict[str, str]:
    """Warn where scores may be too good, as the model knows labels; return what is to be recorded of it."""
    column = tuned_on(model, made)
    if not column:
        return {}
    name = model.name if model is not None else made.get("model")
    _log.warning(
        f"{tool}: model {name!r} was fine-tuned on labels, obs[{column!r}]. Samples that it learnt from are not held "
        "out from its embedding, so that scores on them are too good. Use the model that it was tuned from, by model=, "
        "or cells of other samples."
    )
    return {"model_tuned_on": column}
