"""Do genes with like rows in `get.gene_embeddings` belong to one family? Each part beside plain co-expression.

``python -m benchmarks.pretraining.gene_embeddings --model fly`` takes families of genes by their symbols, and for each
part of the model, beside plain co-expression over FlyBase's clusters and random numbers, says how often two genes of a
family are more alike (cosine) than a gene and one outside the family that is expressed in as many cells and as high as
the second, and which share of a gene's ten nearest are of its family. The model has read cells drawn from these
clusters, so co-expression is what it started from. Genes that the model or the clusters lack are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import anndata as ad
import numpy as np
import pandas as pd

import scflyformer as sf
from scflyformer.get._gene_embeddings import Part

from ..lib.command import markdown_table, new_parser

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES = {
    "ribosome": r"Rp[LS]\w+",
    "ribosome of mitochondria": r"mRp[LS]\w+",
    "proteasome": r"(?:Prosalpha|Prosbeta|Rpn|Rpt)\d\w*",
    "complex I": r"ND-.*",
    "complexes IV and V": r"(?:COX\d|ATPsyn).*",
    "V-ATPase": r"Vha.*",
    "chaperonin": r"CCT\d",
    "odorant binding": r"Obp\d.*",
    "chemoreceptors": r"(?:Or|Gr|Ir)\d.*",
    "cuticle": r"(?:Cpr|Lcp|Twdl|Ccp)\d.*",
    "Jonah proteases": r"Jon\d.*",
    "trypsins": r"(?:alpha|beta|gamma|delta|epsilon|eta|iota|theta|zeta|kappa|lambda)Try",
    "maltases": r"Mal-.*",
    "seminal fluid": r"(?:Acp|Sfp)\d.*",
    "Osiris": r"Osi\d.*",
    "nicotinic receptors": r"nAChR.*",
    "UDP-glycosyltransferases": r"Ugt\d.*",
    "glutathione transferases": r"Gst[A-Z].*",
    "cytochromes P450": r"Cyp\d.*",
    "Beat": r"beat-.*",
    "dpr": r"dpr\d.*",
    "DIP": r"DIP-.*",
}
"""What the whole symbol of a family's genes matches."""
LEAST, N_MATCHED, N_NEAREST = 5, 50, 10
"""Genes that a family must have, genes outside it beside each gene of it, and nearest genes looked at."""
CLUSTERS = "fly_whole/flybase_clusters_1042.h5ad"
CO_EXPRESSION, RANDOM = "co-expression", "random"


def find_families(symbols: np.ndarray) -> dict[str, np.ndarray]:
    """Return the positions of the genes of each family that has enough of them."""
    names = pd.Series(symbols)
    found = {name: np.flatnonzero(names.str.fullmatch(pattern)) for name, pattern in FAMILIES.items()}
    return {name: genes for name, genes in found.items() if len(genes) >= LEAST}


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of each two rows."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def score(alike: np.ndarray, family: np.ndarray, abundance: np.ndarray) -> tuple[float, float]:
    """Return the AUROC against matched genes, and the share of the nearest genes that are of the family.

    ``alike`` is square; ``abundance`` are numbers a gene to match by, shape (n_genes, n_numbers), of like scale. The
    AUROC is the share of (gene of the family, another, one matched to the other) in which the two of the family are
    more alike. The share is of as many of the ten as there are others in the family.
    """
    outside = np.setdiff1d(np.arange(len(alike)), family)
    won, near = [], []
    for second in family:
        distance = ((abundance[outside] - abundance[second]) ** 2).sum(axis=1)
        matched = outside[np.argsort(distance, kind="stable")[:N_MATCHED]]
        first = family[family != second]
        within, beside = alike[first, second][:, None], alike[np.ix_(first, matched)]
        won.append(((within > beside) + 0.5 * (within == beside)).mean())
        others = np.where(np.arange(len(alike)) == second, -np.inf, alike[second])
        nearest = np.argsort(-others, kind="stable")[:N_NEAREST]
        near.append(np.isin(nearest, family).sum() / min(N_NEAREST, len(first)))
    return float(np.mean(won)), float(np.mean(near))


def by_family(
    vectors: Mapping[str, np.ndarray], families: Mapping[str, np.ndarray], abundance: np.ndarray
) -> pd.DataFrame:
    """Return a row for each family and set of vectors with `auroc` and `nearest`."""
    rows = []
    for name, matrix in vectors.items():
        alike = cosines(matrix)
        for family, genes in families.items():
            auroc, nearest = score(alike, genes, abundance)
            rows.append({"vectors": name, "family": family, "n": len(genes), "auroc": auroc, "nearest": nearest})
    return pd.DataFrame(rows)


def mean_lines(table: pd.DataFrame, *, n_boot: int = 2000, seed: int = 0) -> list[list[str]]:
    """Return the mean over families, 95 % intervals over families, and the gain on co-expression, paired."""
    lines = []
    wide = {metric: table.pivot(index="family", columns="vectors", values=metric) for metric in ("auroc", "nearest")}
    drawn = np.random.default_rng(seed).integers(0, len(wide["auroc"]), (n_boot, len(wide["auroc"])))
    for name in dict.fromkeys(table["vectors"]):
        line = [name]
        for values in wide.values():
            for column in (values[name], values[name] - values[CO_EXPRESSION]):
                low, high = np.quantile(column.to_numpy()[drawn].mean(axis=1), [0.025, 0.975])
                line.append(f"{column.mean():.3f} ({low:.3f} to {high:.3f})")
        lines.append(line)
    return lines


def main() -> None:
    """Read, compare, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    args = parser.parse_args()
    model = sf.models.load(args.model)
    clusters = ad.read_h5ad(args.data / CLUSTERS)
    vocabulary = model.vocabulary
    both = np.flatnonzero(np.isin(vocabulary.gene_ids, clusters.var_names))
    levels = clusters[:, vocabulary.gene_ids[both]].to_df().to_numpy(dtype=np.float64)
    levels = np.log1p(levels)  # what a summary does not list counts as none
    vectors = {
        part: sf.get.gene_embeddings(model, part=part).iloc[both, 1:].to_numpy(np.float64) for part in get_args(Part)
    }
    vectors[CO_EXPRESSION] = (levels - levels.mean(axis=0)).T
    vectors[RANDOM] = np.random.default_rng(0).normal(size=vectors["token"].shape)
    abundance = np.log(np.stack([vocabulary.n_cells[both] + 1.0, vocabulary.medians[both]], axis=1))
    table = by_family(vectors, find_families(vocabulary.symbols[both]), abundance / abundance.std(axis=0))
    sizes = table.groupby("family")["n"].first()
    print(f"{len(both):,} genes of {model.name} and the clusters, {len(sizes)} families of {sizes.sum()} genes\n")
    head = ["", "AUROC", "less co-expression", "of the ten nearest", "less co-expression"]
    print(markdown_table(head, mean_lines(table)))
    for metric in ("auroc", "nearest"):
        wide = table.pivot(index="family", columns="vectors", values=metric)[list(vectors)].loc[list(sizes.index)]
        lines = [[f"{name} ({sizes[name]})", *(f"{value:.2f}" for value in row)] for name, row in wide.iterrows()]
        print(f"\n{metric}\n\n{markdown_table([metric, *vectors], lines)}")


if __name__ == "__main__":
    main()
