"""Labels of cell types become terms of the fly anatomy ontology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from scflyformer import _log
from scflyformer._words import some_names
from scflyformer.data import _adata
from scflyformer.data._tables import text_index
from scflyformer.ontology._match import Match, match_labels
from scflyformer.ontology._terms import Ontology, fbbt

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def harmonize_labels(
    adata: AnnData | MuData,
    label_key: str,
    *,
    mapping: Mapping[str, str] | None = None,
    mod: str | None = None,
    key_added: str = "cell_type_fbbt",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Give each cell the FBbt term of its label, so that atlases with labels in other words can be used together.

    A label gets a term where it is the term's id, its name or one of its synonyms, whatever its case, punctuation and
    plural. A label that is the synonym of several terms, or only near to a name, gets none: the table says which terms
    it may be, and ``mapping`` decides. FBbt ships with the package (CC BY 4.0, virtualflybrain.org).

    A classifier that :func:`scflyformer.tl.annotate` learns from these terms also answers with broader terms where
    that is as precise as it can be.

    Parameters
    ----------
    adata
        Labelled cells.
    label_key
        Column of `obs` with the labels.
    mapping
        Terms of labels, as ids or names, such as ``{"G-KC": "FBbt:00049828"}``; they go before all else. ``""`` leaves
        a label without a term. Look terms up at https://www.virtualflybrain.org.
    mod
        Modality of a MuData.
    key_added
        Name of the keys written.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written are

    `obs[key_added]` : categorical
        Term id, such as ``"FBbt:00003720"``; missing where the label has none.
    `obs[key_added + "_name"]` : categorical
        Name of the term.
    `uns[key_added]` : dict
        ``"table"``: a data frame with a row for each label: `label`, `term`, `name`, `how` (``"given"``, ``"id"``,
        ``"name"``, ``"synonym"``, or, without a term, ``"ambiguous"``, ``"near"``, ``"none"``), `is_cell` (false for
        tissues and other parts), `suggestions` (terms that it may be, with their names) and `n_cells`. ``"params"``:
        arguments and the release of FBbt.

    Raises
    ------
    KeyError
        When ``label_key`` does not exist; lists near names.
    ValueError
        When ``mapping`` names a term that FBbt does not have, or a label that no cell has.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(300)
    >>> sf.pp.harmonize_labels(
    ...     adata, "cell_type", mapping={"G-KC": "FBbt:00049828", "A.B-KC": "FBbt:00100248"}
    ... )
    >>> adata.uns["cell_type_fbbt"]["table"][["label", "name", "how"]]
                   label                            name        how
    0             A.B-KC           alpha/beta Kenyon cell      given
    ...
    """
    out, cells = _adata.start(adata, mod=mod, copy=copy)
    _adata.check_key_added(key_added, ("", "_name"), label_key=label_key)
    labels = pd.Series(_adata.labels_of(_adata.obs_column(cells, label_key, what="label_key")))
    counts = labels.value_counts()
    ontology = fbbt()
    given = _checked(mapping or {}, set(counts.index), ontology)
    matches = match_labels(sorted(counts.index), ontology, given=given)
    table = pd.DataFrame([_row(match, ontology, int(counts[match.label])) for match in matches], columns=list(_COLUMNS))
    terms = labels.map({match.label: match.term or None for match in matches})
    params = {"label_key": label_key, "mapping": given, "fbbt_release": ontology.release}
    _adata.write(
        cells,
        obs={
            key_added: pd.Categorical(terms),
            f"{key_added}_name": pd.Categorical(terms.map(ontology.names, na_action="ignore")),
        },
        uns={key_added: {"table": text_index(table), "params": params}},
    )
    _say(table, key_added)
    return out if copy else None


_COLUMNS = ("label", "term", "name", "how", "is_cell", "suggestions", "n_cells")


def _row(match: Match, ontology: Ontology, n_cells: int) -> tuple[str, str, str, str, bool, str, int]:
    suggestions = "; ".join(f"{term} {ontology.names[term]}" for term in match.suggestions)
    is_cell = bool(match.term) and ontology.is_cell(match.term)
    return match.label, match.term, ontology.names.get(match.term, ""), match.how, is_cell, suggestions, n_cells


def _checked(mapping: Mapping[str, str], labels: set[str], ontology: Ontology) -> dict[str, str]:
    """Return the mapping with ids where it had names; an error where a term or a label is not there."""
    found = {match.label: match.term for match in match_labels(sorted(set(mapping.values()) - {""}), ontology)}
    unknown = sorted(name for name, term in found.items() if not term)
    if unknown:
        raise ValueError(
            f"mapping: {some_names(unknown, 5)}: no term of FBbt {ontology.release}, or several; expected ids such as "
            "'FBbt:00003720', or names. Look them up at https://www.virtualflybrain.org."
        )
    unused = sorted(set(mapping) - labels)
    if unused:
        raise ValueError(
            f"mapping: no cell is labelled {some_names(unused, 5)}; labels are {some_names(sorted(labels), 8)}."
        )
    return {label: found.get(term, "") for label, term in mapping.items()}


def _say(table: pd.DataFrame, key: str) -> None:
    absent = table[table["term"] == ""]
    n_cells = table["n_cells"].sum()
    done = n_cells - absent["n_cells"].sum()
    _log.info(f"harmonize_labels: {done} of {n_cells} labelled cells have a term, in .obs[{key!r}]")
    if len(absent):
        _log.warning(
            f"harmonize_labels: no term for {some_names(list(absent['label']), 8)}; see uns[{key!r}]['table'], "
            "look them up at https://www.virtualflybrain.org, and name their terms by mapping=."
        )
    if len(parts := table[(table["term"] != "") & ~table["is_cell"]]):
        _log.warning(
            f"harmonize_labels: {some_names(list(parts['label']), 8)}: terms of tissues, not of types of cell."
        )
