"""Files of `tl.annotate` for cellxgene-schema: as it leaves them, and completed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer.data._ages import _FBDV_DAYS
from scflyformer.ontology._terms import CELL

from .environments import variables
from .sets import BODY, BRAIN, HEAD, SIMULATED

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

TISSUES = {HEAD: "FBbt:00000004", BODY: "FBbt:00000001", BRAIN: "FBbt:00005095", SIMULATED: "FBbt:00005095"}
"""Terms of the tissues: head, whole organism, brain."""
NUCLEI = (HEAD, BODY)
SEXES = {"female": "PATO:0000383", "male": "PATO:0000384"}
ASSAYS = {HEAD: "EFO:0009922", BODY: "EFO:0009922", BRAIN: "EFO:0009899", SIMULATED: "EFO:0009899"}
"""10x 3' v3 and v2."""
UNKNOWN = "unknown"
RESERVED = ("cell_type", "tissue", "sex", "organism", "assay", "disease", "development_stage")
"""Columns that the portal fills in itself; those of a file get a name of their own."""
QUOTED, SHOWN = re.compile(r"'[^']*'"), 1


def stage_of(days: float) -> str:
    """Return the FBdv term of a day of adulthood, or ``"unknown"``."""
    for first, first_day, n_days in _FBDV_DAYS:
        if first_day <= days < first_day + n_days:
            return f"FBdv:{first + int(days - first_day):08d}"
    return UNKNOWN


def completed(cells: AnnData, name: str, key: str = "annotation") -> AnnData:
    """Return the file with all that the schema asks for: what `tl.annotate` found, and what is known of the flies."""
    done = cells.copy()
    done.obs = done.obs.rename(columns={column: f"author_{column}" for column in RESERVED if column in done.obs})
    n = done.n_obs
    terms = cells.obs[f"{key}_fbbt"].astype(str)
    sexes = cells.obs["sex"].astype(str).map(SEXES) if "sex" in cells.obs else pd.Series(UNKNOWN, cells.obs_names)
    written = {
        "cell_type_ontology_term_id": terms.where(terms.ne(CELL) & terms.str.startswith("FBbt:"), UNKNOWN),
        "development_stage_ontology_term_id": cells.obs["age"].astype(float).map(stage_of).astype(str),
        "sex_ontology_term_id": sexes.fillna(UNKNOWN),
        "tissue_ontology_term_id": [TISSUES[name]] * n,
        "tissue_type": ["tissue"] * n,
        "assay_ontology_term_id": [ASSAYS[name]] * n,
        "suspension_type": ["nucleus" if name in NUCLEI else "cell"] * n,
        "disease_ontology_term_id": ["PATO:0000461"] * n,
        "self_reported_ethnicity_ontology_term_id": ["na"] * n,
        "donor_id": cells.obs["batch"].astype(str),
    }
    for column, values in written.items():
        done.obs[column] = pd.Categorical(np.asarray(values, dtype=str))
    done.obs["is_primary_data"] = False
    for column in done.obs.columns[done.obs.dtypes == "category"]:
        done.obs[column] = done.obs[column].cat.remove_unused_categories()
    done.var["gene_symbol"] = done.var_names.to_numpy()
    done.var_names = pd.Index(done.var.pop("FBgn").to_numpy(dtype=str))
    done.var["feature_is_filtered"] = False
    done.uns |= {"title": f"{name}, labelled by scflyformer", "organism_ontology_term_id": "NCBITaxon:7227"}
    return done


def validated(python: Path, file: Path) -> str:
    """Return all that ``cellxgene-schema validate`` says of a file."""
    tool = python.with_name("cellxgene-schema")
    done = subprocess.run([str(tool), "validate", str(file)], capture_output=True, text=True, env=variables())
    return f"{done.stdout}{done.stderr}".strip() + f"\nexit status {done.returncode}"


def shortened(said: str) -> str:
    """Return the lines as they came, but of lines that differ in quoted names alone the first, and how many there were.

    Where the tool says on its own behalf where it is, and what time it took, is left out.
    """
    seen: dict[str, list[str]] = {}
    for line in said.splitlines():
        if not line.startswith(("WARNING:", "ERROR:", "exit", "INFO:cellxgene_schema.validate:Validation complete")):
            continue
        text = re.sub(r"^(WARNING|ERROR|INFO):cellxgene_schema\.\w+:(?:(?:WARNING|ERROR): )?", r"\1: ", line)
        text = re.sub(r" in \d+:\d\d:\d\d\.\d+", "", text)
        shape = QUOTED.sub("''", text) if "feature ID" in text or "gene" in text else text
        seen.setdefault(shape, []).append(text)
    return "\n".join(
        lines[0] + (f"  (and {len(lines) - SHOWN:,} more such lines)" if len(lines) > SHOWN else "")
        for lines in seen.values()
    )
