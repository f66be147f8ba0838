"""The article's case on stand-ins: old cells of a davie type against young, fz2 and genes known to bear on age."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad

import scflyformer as sf

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from scflyformer.models import Model

OLD, YOUNG = 30, [0, 1, 3]
"""Days: where cells come from and where they should go."""
AGE_GENES = {
    "fz2": "receptor of Wnt, the article's gene",
    "Sod1": "superoxide dismutase; Orr and Sohal 1994",
    "Sod2": "superoxide dismutase of mitochondria; Kirby et al. 2002",
    "Jafrac1": "peroxiredoxin; Lee et al. 2009",
    "InR": "insulin receptor; Tatar et al. 2001",
    "Lnk": "insulin signalling; Slack et al. 2010",
    "S6k": "TOR signalling; Kapahi et al. 2004",
    "Sirt1": "Sir2, deacetylase; Rogina and Helfand 2004",
    "Atg8a": "autophagy; Simonsen et al. 2008",
    "ref(2)P": "p62, autophagy; Aparicio et al. 2019",
}
"""The genes, and why each: effects on a fly's lifespan or health when old."""


def old_and_young(obs: pd.DataFrame) -> pd.DataFrame:
    """Return, by named type, ``old`` and ``young`` cells and ``strain``, the old cells of the strain with the fewest.

    Types whose name is a bare number are left out; first comes the type with the largest ``strain``.
    """
    named = obs[~obs["cell_type"].astype(str).str.fullmatch(r"\d+")]
    label, age = named["cell_type"].astype(str), named["age"].astype(float)
    old = age == OLD
    table = old.groupby(label).sum().rename("old").to_frame()
    table["young"] = age.isin(YOUNG).groupby(label).sum()
    strains = named[old].groupby([label[old], named["genotype"].astype(str)[old]]).size().unstack(fill_value=0)
    table["strain"] = strains.min(axis=1).reindex(table.index).fillna(0).astype(int)
    return table.sort_values(["strain", "old"], ascending=False)


def old_against_young(
    path: Path, model: Model, out: Path | None, *, n_null: int, max_cells: int
) -> tuple[str, pd.DataFrame, dict[str, int]]:
    """Delete the genes in old cells of one type, the first of `old_and_young`.

    Returns the type, what `tl.perturb` found, and its numbers of old and young cells; draws figures into ``out``, if
    given.
    """
    adata = ad.read_h5ad(path)
    types = old_and_young(adata.obs)
    label = str(types.index[0])
    cells = adata[(adata.obs["cell_type"] == label).to_numpy()].copy()
    cells.obs["age"] = cells.obs["age"].astype(float)
    young = [day for day in YOUNG if (cells.obs["age"] == day).any()]
    genes = [gene for gene in AGE_GENES if gene in cells.var_names]
    sf.tl.perturb(
        cells, genes=genes, state_key="age", start=OLD, goal=young, sample_key="batch", gene_key="FBgn",
        model=model.path, n_null=n_null, max_cells=max_cells,
    )  # fmt: skip
    if out is not None:
        draw(cells, genes, out)
    return label, cells.uns["perturb"]["results"], types.loc[label, ["old", "young"]].astype(int).to_dict()


def draw(cells: ad.AnnData, genes: list[str], out: Path) -> None:
    """Write violins of expression by age, and shifts over the band of null genes."""
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("expression", sf.pl.expression(cells, genes, groupby="age", show=False, return_fig=True)),
        ("shifts", sf.pl.perturb_shift(cells, show=False, return_fig=True)),
    ):
        figure.savefig(out / f"{name}.png", dpi=150, bbox_inches="tight")
        plt.close(figure)
