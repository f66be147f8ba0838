"""The whole analysis in one go: on real cells that ship and on simulated ones, or on yours.

    python examples/demo.py --out demo
    python examples/demo.py --out demo --data cells.h5ad --label-key cell_type --age-key age --sample-key batch

Without --data, real data come first: 429 olfactory neurons are embedded, labelled with whole plates held out, and
labelled from the file alone; three genes are followed over age in FlyBase's means of ageing clusters. Where an answer
must be known, simulated cells follow: ageing clock, expression by age and perturbation. With --data all steps run on
your cells. Figures and an `.h5ad` with all results go to the folder; what was found is printed as one table, beside
baselines and, for simulated cells, beside what was planted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from demo_cells import HEADER, TABLE, Demo, draw_umap, log_normalised, neighbours_alike, principal_components
from demo_real import ageing_clusters, by_pretraining, front_figure, label_from_file, load_neurons
from matplotlib import pyplot as plt
from scipy.stats import false_discovery_control

import scflyformer as sf

#: Columns looked for where none is named.
GUESSES = {
    "label": ("cell_type", "celltype", "annotation", "afca_annotation", "cell_ontology_class", "cluster", "leiden"),
    "age": ("age", "age_days", "days"),
    "sample": ("batch", "sample", "library", "sample_id", "library_id", "donor"),
}
REP = "X_scflyformer"
#: Where predicted types go: a name that no laboratory's own labels have.
PREDICTED = "predicted_type"
#: What annotation is held against: all but "random", which takes a second run through the network.
BASELINES = ("expression", "pca", "neighbours", "majority")
#: Roles of planted genes and how many of each are drawn as violins.
ROLES = {"rises": 4, "falls": 2, "control": 2}
TOWARDS, NOT_TOWARDS = "towards", "not towards"
CELLS = "cells.h5ad"
#: What the demo writes; from an earlier run in the same folder it is removed first.
FILES = {
    "neurons_umap.png": "real olfactory neurons: map of the cell embedding, by type and plate",
    "neurons_confusion.png": "the same: true against predicted types, each plate held out",
    "ageing_clusters.png": "real clusters: three genes over age, outer photoreceptors beside all other types",
    "simulated_age_clock.png": "simulated cells: predicted against true ages, on held-out cells",
    "simulated_expression.png": "the same: expression of planted genes by age",
    "simulated_perturb.png": "the same: genes deleted in old cells, shift towards the young",
    "simulated_perturb_young.png": "the same: genes deleted in young cells, shift towards the old",
    "umap.png": "map of the cell embedding, by cell type, age or sample",
    "confusion.png": "true against predicted cell types, on held-out cells",
    "age_clock.png": "predicted against true ages, on held-out cells",
    "expression.png": "expression of the perturbed genes by age",
    "perturb.png": "genes deleted in old cells: shift towards the young",
    "perturb_young.png": "genes deleted in young cells: shift towards the old",
    TABLE: "the table above, in full",
    "neurons_cells.h5ad": "the real neurons with every result, for scanpy",
    "simulated_cells.h5ad": "the simulated cells with every result",
    CELLS: "the cells with every result, for scanpy",
}
#: What the numbers of a step are.
UNITS = {
    "embedding": "share of cells",
    "annotation": "scores on held-out cells; 1 is best",
    "from the file alone": "a classifier that ships, learnt from other cells; share of cells",
    "outer photoreceptors": "means of FlyBase's ageing clusters; no embedding here",
    "age clock": "on held-out cells; R²: 1 is best; error in the unit of age",
    "perturbation": "deletions: shift to the other age, in sd of null genes; fdr: adjusted p",
}
#: What a number of a step is called, where it is none of an embedding.
WORDS = {"from the file alone": "share", "outer photoreceptors": "means"}
#: Letters of a line of the report.
WIDE = 110


def load(options: argparse.Namespace, found: list[dict[str, str]]) -> Demo:
    """Simulate cells, or read them and find the columns; large data are thinned to --max-cells."""
    if options.data is None:
        adata = sf.datasets.fly_brain_simulated(options.n_cells, seed=options.seed)
        truth = adata.uns["truth"]["genes"]
        print(f"{adata.n_obs:,} simulated cells (not measured ones) × {adata.n_vars:,} genes, planted truth in uns.")
    else:
        adata, truth = ad.read_h5ad(options.data), None
        print(f"{options.data.name}: {adata.n_obs:,} cells × {adata.n_vars:,} genes.")
    model = options.model or "fly-tiny"
    keys = {role: find_column(adata, role, getattr(options, f"{role}_key")) for role in GUESSES}
    print("Columns: " + ", ".join(f"{role} = {key or 'none found'}" for role, key in keys.items()) + ".")
    missing = [role for role, key in keys.items() if key is None]
    if missing and options.data is not None:
        given = {role: getattr(options, f"{role}_key") for role in GUESSES}
        given |= dict.fromkeys(missing, "COLUMN")
        asked = " ".join(f"{role.upper()}={column}" for role, column in given.items() if column)
        print(f"  For the others: make demo DATA={options.data} {asked}; obs has {', '.join(map(str, adata.obs))}.")
    if options.data is not None and options.max_cells and adata.n_obs > options.max_cells:
        keep = thin(adata, keys["sample"], options.max_cells, options.seed)
        print(f"Taking {keep.size:,} of {adata.n_obs:,} cells, spread over the samples (--max-cells 0 takes all).")
        adata = adata[keep].copy()
    if keys["age"]:
        ages = pd.to_numeric(adata.obs[keys["age"]].astype(str), errors="coerce")
        if ages.notna().all():
            adata.obs[keys["age"]] = ages.to_numpy()
        else:
            print(f"obs[{keys['age']!r}] is not a number for {int(ages.isna().sum()):,} cells; ages are left out.")
            keys["age"] = None
    kind = "" if truth is None else "simulated"
    return Demo(adata, options.out, model, **keys, truth=truth, options=options, kind=kind, found=found)


def find_column(adata: ad.AnnData, role: str, named: str | None) -> str | None:
    """Return the column that was named, or the first of the usual names."""
    if named:
        if named not in adata.obs:
            sys.exit(f"--{role}-key {named}: no such column; obs has {', '.join(adata.obs)}.")
        return named
    return next((key for key in GUESSES[role] if key in adata.obs), None)


def thin(adata: ad.AnnData, sample: str | None, n_cells: int, seed: int) -> np.ndarray:
    """Choose cells at random, as evenly over samples as they allow."""
    chance = np.random.default_rng(seed).permutation(adata.n_obs)
    codes = adata.obs[sample].astype(str).to_numpy()[chance] if sample else np.zeros(adata.n_obs)
    turn = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    return np.sort(chance[np.argsort(turn, kind="stable")[:n_cells]])


def embed(demo: Demo) -> None:
    """Embed the cells and say what the model reads of them."""
    adata = demo.adata
    sf.tl.embed(adata, model=demo.model)
    read = adata.uns[REP]["coverage"]
    print(
        f"  {read['n_genes_mapped']:,} of {read['n_genes']:,} genes recognised, {read['share_vocabulary']:.0%} of "
        f"those that {demo.model} knows; it reads {read['share_counts']:.0%} of the counts."
    )


def embed_and_map(demo: Demo) -> None:
    """Embed the cells; UMAP by two columns; share of neighbours of the same type beside that in expression."""
    embed(demo)
    adata = demo.adata
    sc.pp.neighbors(adata, use_rep=REP, n_neighbors=15, random_state=0)
    sc.tl.umap(adata, random_state=0)
    shown = [key for key in (demo.label, demo.age, demo.sample) if key][:2]
    figure, axes = plt.subplots(1, max(len(shown), 1), figsize=(5.5 * max(len(shown), 1), 4.2), squeeze=False)
    for ax, key in zip(axes[0], shown or [None], strict=False):
        draw_umap(ax, adata.obsm["X_umap"], None if key is None else adata.obs[key], key, demo.age)
    figure.tight_layout()
    demo.save(figure, "umap")
    if demo.label:
        labels = adata.obs[demo.label].astype(str).to_numpy()
        ours = neighbours_alike(adata.obsm[REP], labels)
        chance = float((pd.Series(labels).value_counts(normalize=True) ** 2).sum())
        theirs = neighbours_alike(principal_components(adata), labels)
        demo.add(
            "embedding",
            "15 neighbours of the same type",
            f"{ours:.3f}",
            f"expression PCs {theirs:.3f}, chance {chance:.3f}",
        )


def annotate(demo: Demo) -> None:
    """Predict each cell's type from a classifier that saw none of its library; confusion heatmap."""
    if not demo.label:
        print("No column with cell types (--label-key): annotation is left out.")
        return
    adata = demo.adata
    sf.tl.annotate(
        adata,
        label_key=demo.label,
        sample_key=demo.sample,
        model=demo.model,
        baselines=BASELINES,
        key_added=PREDICTED,
    )
    demo.save(sf.pl.confusion(adata, truth=demo.label, key=PREDICTED, return_fig=True), "confusion")
    metrics = sf.get.annotation_df(adata, key=PREDICTED, table="metrics").set_index("features")
    unit = "plates" if demo.kind == "neurons" else "libraries" if demo.sample else "cells"
    for measure in ("accuracy", "macro_f1"):
        ours, *others = metrics.index
        demo.add(
            "annotation",
            f"{measure.replace('_', ' ')}, {unit} held out",
            f"{metrics.loc[ours, measure]:.3f}",
            ", ".join(f"{name} {metrics.loc[name, measure]:.3f}" for name in others),
        )
    for line in adata.uns[PREDICTED]["verdict"]:
        print(textwrap.fill(line, WIDE, initial_indent="  ", subsequent_indent="    "))


def age_clock(demo: Demo) -> None:
    """Predict each cell's age from clocks that saw none of its library; scatter of both arms."""
    if not demo.age:
        print("No column with ages in numbers (--age-key): the ageing clock is left out.")
        return
    adata = demo.adata
    sf.tl.age_clock(adata, age_key=demo.age, sample_key=demo.sample)
    figure = sf.pl.age_clock(adata, features=["embedding", "expression"], return_fig=True)
    demo.save(figure, "age_clock")
    results = sf.get.clock_df(adata)
    results = results[results["group"] == "all"].set_index("features")
    unit = "libraries" if demo.sample else "cells"
    for measure, words in (("r2", "R²"), ("mae", "mean absolute error")):
        others = [name for name in results.index if name != "embedding"]
        demo.add(
            "age clock",
            f"{words}, {unit} held out",
            f"{results.loc['embedding', measure]:.3f}",
            ", ".join(f"{name} {results.loc[name, measure]:.3f}" for name in others),
        )


def choose_genes(demo: Demo) -> list[tuple[str, dict[str, list[str]]]]:
    """Gene sets to delete in old or young cells: planted, named, or those that follow age."""
    if demo.options.genes:
        return [("old", alone(demo.options.genes))]
    if demo.truth is not None:
        rises, falls, controls = (list(demo.truth.index[demo.truth["role"] == role]) for role in ROLES)
        old = alone([*rises, *controls[:2]]) | {"rising together": rises}
        young = alone([*falls, *controls[:1]]) | {"falling together": falls}
        return [("old", old), ("young", young)]
    plain = log_normalised(demo.adata)
    ranks = demo.adata.obs[demo.age].rank().to_numpy()
    values = plain.X.toarray() if hasattr(plain.X, "toarray") else np.asarray(plain.X)
    spread = np.maximum(values.std(axis=0) * ranks.std(), 1e-9)
    correlation = (ranks - ranks.mean()) @ values / len(ranks) / spread
    correlation[(values > 0).mean(axis=0) < 0.2] = 0
    rising = plain.var_names[np.argsort(-correlation)[:2]].tolist()
    falling = plain.var_names[np.argsort(correlation)[:1]].tolist()
    chosen = [*rising, *falling]
    print(f"Chosen by correlation with age in these cells, so exploratory: {', '.join(chosen)} (--genes names others).")
    return [("old", alone(chosen))]


def alone(genes: list[str]) -> dict[str, list[str]]:
    """Each gene as a set of its own."""
    return {gene: [gene] for gene in genes}


def expression(demo: Demo, genes: list[tuple[str, dict[str, list[str]]]]) -> None:
    """Violins of the chosen genes by age."""
    wanted = list(dict.fromkeys(gene for _, sets in genes for members in sets.values() for gene in members))
    if demo.truth is not None:  # four rising, two falling, two controls
        wanted = [gene for role, n in ROLES.items() for gene in demo.truth.index[demo.truth["role"] == role][:n]]
    present = [gene for gene in wanted if gene in demo.adata.var_names]
    if not present:
        print(f"None of {', '.join(wanted)} is measured here: no violins.")
        return
    demo.save(sf.pl.expression(demo.adata, genes=present, groupby=demo.age, return_fig=True), "expression")


def perturb(demo: Demo, genes: list[tuple[str, dict[str, list[str]]]]) -> None:
    """Delete genes in old cells and see whether they move towards the young, or the other way round."""
    youngest, oldest = ends(demo)
    if youngest is None or oldest is None:
        print("Fewer than two ages: the perturbation is left out.")
        return
    adata, options = demo.adata, demo.options
    n_null = options.n_null
    for where, sets in genes:
        start, goal = (oldest, youngest) if where == "old" else (youngest, oldest)
        key = "perturb" if where == "old" else "perturb_young"
        limits = f"at most {options.perturb_cells} cells of age {start:g}, {n_null} null genes beside each gene"
        print(f"Perturbation, {start:g} → {goal:g}: {limits}.")
        sf.tl.perturb(
            adata,
            genes=sets,
            state_key=demo.age,
            start=start,
            goal=goal,
            sample_key=demo.sample,
            model=demo.model,
            n_null=n_null,
            max_cells=options.perturb_cells,
            key_added=key,
        )
        demo.save(sf.pl.perturb_shift(adata, key=key, return_fig=True), key)
        results = sf.get.perturb_df(adata, key=key)
        n_tested = len(results)
        least = n_tested / (n_null + 1)
        print(f"  {n_tested} tested, {n_null} null genes: one of them alone cannot get an fdr below {least:.3f}.")
        baseline = expression_effects(demo, key, sets, goal)
        for row in results.itertuples():
            ours, theirs = (row.effect, row.p_value, row.fdr), tuple(baseline.loc[row.gene])
            wanted = expectation(demo, sets[row.gene], where)
            what = f"delete {row.gene}, {start:g} → {goal:g}"
            demo.add(
                "perturbation",
                what,
                f"{in_words(*ours)}, {row.n_cells} cells",
                f"expression {in_words(*theirs)}",
                wanted,
            )
            if wanted:
                demo.verdicts.append((wanted, verdict(*ours), verdict(*theirs)))


def in_words(effect: float, p_value: float, fdr: float) -> str:
    """Put a shift beside those of null genes in words."""
    return f"{effect:+.1f} sd of null, p {p_value:.3f}, fdr {fdr:.3f}"


def verdict(effect: float, p_value: float, fdr: float) -> str:
    """Say what a result says at an adjusted p-value of 0.05."""
    return TOWARDS if fdr <= 0.05 and effect > 0 else NOT_TOWARDS


def ends(demo: Demo) -> tuple[float | None, float | None]:
    """Youngest and oldest age; of those seen in several samples where at least two are."""
    if demo.options.start is not None and demo.options.goal is not None:
        return demo.options.goal, demo.options.start
    obs = demo.adata.obs
    n_samples = obs.groupby(demo.age)[demo.sample].nunique() if demo.sample else obs[demo.age].value_counts()
    ages = n_samples.index[n_samples > 1] if (n_samples > 1).sum() > 1 else n_samples.index
    return (min(ages), max(ages)) if len(ages) > 1 else (None, None)


def expression_effects(demo: Demo, key: str, sets: dict[str, list[str]], goal: float) -> pd.DataFrame:
    """Baseline without a model: the same genes and null genes set to 0 in the same cells' log-normalised expression.

    The shift is the change in the cosine with the mean of the goal cells, over the cells that express the gene; effect
    and p-value are reckoned as `tl.perturb` does.
    """
    plain = log_normalised(demo.adata)
    x = plain[sf.get.perturb_df(demo.adata, key=key, table="cells")["cell"].unique()].X
    x = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
    centre = np.ravel(plain.X[(demo.adata.obs[demo.age] == goal).to_numpy()].mean(axis=0)).astype(float)
    centre /= np.linalg.norm(centre)
    dot, square = x @ centre, (x**2).sum(axis=1)

    def shift(genes: list[str]) -> float:
        columns = plain.var_names.get_indexer([gene for gene in genes if gene in plain.var_names])
        gone = x[:, columns]
        after = (dot - gone @ centre[columns]) / np.sqrt(np.maximum(square - (gone**2).sum(axis=1), 1e-12))
        edited = (gone > 0).any(axis=1)
        return float((after - dot / np.sqrt(square))[edited].mean()) if edited.any() else np.nan

    rows = {}
    for name, names in sf.get.perturb_df(demo.adata, key=key, table="null").groupby("gene")["null_gene"]:
        null = np.array([shift(one.split("+")) for one in names])
        null = null[np.isfinite(null)]
        observed = shift(sets[name])
        beyond = np.abs(null - np.median(null)) >= abs(observed - np.median(null))
        rows[name] = ((observed - null.mean()) / null.std(ddof=1), (1 + beyond.sum()) / (1 + len(null)))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["effect", "p_value"])
    table["fdr"] = false_discovery_control(table["p_value"])
    return table


def expectation(demo: Demo, genes: list[str], where: str) -> str:
    """What planting the genes should lead to."""
    if demo.truth is None or not set(genes) <= set(demo.truth.index):
        return ""
    roles = set(demo.truth.loc[genes, "role"])
    return TOWARDS if roles == {"rises" if where == "old" else "falls"} else NOT_TOWARDS


def clear(out: Path) -> None:
    """Remove what an earlier demo wrote to the folder, known by its table; other files stay."""
    table = out / TABLE
    if not table.is_file() or table.read_text(encoding="utf-8").split("\n")[0].split("\t") != list(HEADER):
        return
    old = [out / name for name in FILES if (out / name).is_file()]
    print(f"{out}/ holds an earlier demo: its {len(old)} files are replaced.")
    for path in old:
        path.unlink()


def keep(demo: Demo) -> None:
    """Write the table and the cells; the file of cells is there whole or not at all."""
    demo.keep_table()
    whole = demo.out / demo.file(CELLS)
    part = whole.with_name(f"{whole.name}.part")
    demo.adata.write_h5ad(part)
    part.replace(whole)


def report(demos: list[Demo], seconds: dict[str, float]) -> None:
    """Print what was found, what of it is simulated, where it lies and what to do next."""
    demo = demos[-1]
    simulated = demo.truth is not None
    print("\nWHAT WAS FOUND, beside plainer methods on the same cells")
    print(in_sections(demo.table()) or "  Nothing: no step had the columns it needs.")
    told = [line for wanted in (TOWARDS, NOT_TOWARDS) if (line := borne_out(demo, wanted))]
    if told:
        print("\n" + "\n".join(told))
    print("\nWHAT IT IS WORTH")
    if simulated:
        words = (
            "The neurons and the clusters are real. In the neurons the verdicts above, over five plates, say what the "
            "embedding is worth beside plainer methods; the trends are of one pool of flies an age, so that age cannot "
            "be told from what else differs between pools. The cells with planted answers are SIMULATED: they show "
            "that the steps run, and what is found and missed; they say nothing about flies."
        )
    else:
        words = (
            f"A first look at your cells, with the model {demo.model}, few perturbed cells and few null genes. An "
            "embedding that does not beat the plainer methods beside it adds nothing here, and genes chosen by their "
            "trend in these same cells are exploratory."
        )
    print(textwrap.fill(words, WIDE, initial_indent="  ", subsequent_indent="  "))
    print(f"\nWHERE IT IS: {demo.out}/")
    for name, what in FILES.items():
        if (demo.out / name).is_file():
            print(f"  {name:<{28 if simulated else 18}} {what}")
    print("\nWHAT TO DO NEXT: look at the figures, then open the cells in Python (after make: .venv/bin/python)")
    for line in next_lines(demos[0]):
        print(f"  {line}")
    if simulated:
        print("and run it on cells of your own: make demo DATA=your.h5ad LABEL=… AGE=… SAMPLE=… OUT=mine")
    print("\nSeconds: " + ", ".join(f"{step} {spent:.0f}" for step, spent in seconds.items()) + ".")


def borne_out(demo: Demo, wanted: str) -> str:
    """Say how many deletions went as planted; nothing where there are none."""
    lines = [line for line in demo.verdicts if line[0] == wanted]
    if not lines:
        return ""
    who = "planted drivers should move cells towards the other age" if wanted == TOWARDS else "controls should not"
    ours, theirs = (sum(line[place] == wanted for line in lines) for place in (1, 2))
    told = f"the embedding bears out {ours}, expression {theirs} (fdr at most 0.05)"
    return f"{len(lines)} deletions of {who}:\n  {told}."


def next_lines(demo: Demo) -> list[str]:
    """Return lines of Python that open the cells and draw what is in them."""
    adata = demo.adata
    lines = ["import scanpy as sc, scflyformer as sf", f'adata = sc.read_h5ad("{demo.out / demo.file(CELLS)}")']
    shown = ", ".join(f'"{key}"' for key in (PREDICTED, "age_clock", "shipped_fbbt_name") if key in adata.obs)
    lines.append(f"sc.pl.umap(adata, color=[{shown}])" if shown else "sc.pl.umap(adata)")
    if "perturb" in adata.uns:
        lines.append("sf.get.perturb_df(adata)")
    return lines


def in_sections(table: pd.DataFrame) -> str:
    """Set the table as a block for each step; p-values without adjustment are left to the file."""
    lines = []
    for step, rows in table.groupby("step", sort=False):
        name = str(step).split(": ")[-1]
        word = WORDS.get(name, "embedding")
        lines.append(f"\n{step} ({UNITS[name]})")
        rest = re.compile(r"^delete | of null|p [\d.]+, ")
        texts = [[rest.sub("", text) for text in row] for row in rows.iloc[:, 1:].to_numpy(str)]
        what, ours = (max(len(row[place]) for row in texts) for place in (0, 1))
        for name, found, plainer, expected in texts:
            role = {TOWARDS: "  (driver)", NOT_TOWARDS: "  (control)"}.get(expected, "")
            whole = re.sub(r" (?=-?[\d.]+(,|$))", "\N{NO-BREAK SPACE}", plainer)  # a method and its number
            line = f"  {name:<{what}}  {word} {found:<{ours}} | {whole}{role}"
            wrapped = textwrap.wrap(line, WIDE, subsequent_indent=" " * (what + ours + len(word) + 8))
            lines += [part.replace("\N{NO-BREAK SPACE}", " ") for part in wrapped]
    return "\n".join(lines)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for figures and results")
    parser.add_argument("--data", type=Path, help="an .h5ad of counts (default: what ships)")
    parser.add_argument("--model", help="model name or folder (default: fly for the neurons that ship, else fly-tiny)")
    parser.add_argument("--label-key", help="column of obs with cell types")
    parser.add_argument("--age-key", help="column of obs with ages")
    parser.add_argument("--sample-key", help="column of obs with libraries")
    parser.add_argument("--genes", nargs="+", help="genes to delete and draw")
    parser.add_argument("--start", type=float, help="age whose cells are perturbed (default: the oldest)")
    parser.add_argument("--goal", type=float, help="age they should move to (default: the youngest)")
    parser.add_argument("--n-cells", type=int, default=1260, help="simulated cells")
    parser.add_argument("--max-cells", type=int, default=3000, help="cells taken from --data at most; 0 for all")
    parser.add_argument("--perturb-cells", type=int, default=15, help="start cells perturbed at most")
    parser.add_argument("--n-null", type=int, default=80, help="null genes beside each gene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--figure", type=Path, help="also write the README's figure, of what ships: docs/_static/demo.png"
    )
    options = parser.parse_args(arguments)
    if options.data is not None and not options.data.is_file():
        parser.exit(2, f"{options.data}: no such file\n")
    if options.data is not None and options.data.resolve() in [(options.out / name).resolve() for name in FILES]:
        parser.exit(2, f"{options.data} would be overwritten by the results; name another folder by --out (OUT=)\n")
    return options


def real_cells(demo: Demo, attempt: Callable[[str, Callable[[], None]], None]) -> None:
    """Do the steps on what ships of real data."""

    def held_out() -> None:
        annotate(demo)
        by_pretraining(demo, PREDICTED)

    attempt("neurons: embed and UMAP", lambda: embed_and_map(demo))
    attempt("neurons: annotation", held_out)
    attempt("neurons: from the file alone", lambda: label_from_file(demo))
    attempt("ageing clusters", lambda: ageing_clusters(demo.options, demo.found))
    if demo.options.figure is not None:
        front_figure(demo.adata, PREDICTED, demo.options.figure)


def over_ages(demo: Demo, attempt: Callable[[str, Callable[[], None]], None]) -> None:
    """Do the steps that need ages, where there are some."""
    attempt("age clock", lambda: age_clock(demo))
    if demo.age:
        genes = choose_genes(demo)
        attempt("expression", lambda: expression(demo, genes))
        attempt("perturbation", lambda: perturb(demo, genes))
    else:
        print("No ages: perturbation is left out. To compare other states, see sf.tl.perturb.")


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run all steps; return the table of what was found."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    sc.settings.verbosity = 1
    sc.settings.autoshow = False
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    demos: list[Demo] = []
    found: list[dict[str, str]] = []

    def attempt(step: str, work: Callable[[], None]) -> None:
        """Do a step; what cells of one's own cannot answer is told and left out."""
        nonlocal begin
        print(f"{step} …", flush=True)
        try:
            work()
        except ValueError as error:
            if options.data is None:
                raise
            print(f"{step} is left out: {error}")
        seconds[step], begin = time.perf_counter() - begin, time.perf_counter()
        print(f"  {step}: {seconds[step]:.0f} s", flush=True)
        demos[-1].keep_table()

    try:
        if options.data is None:
            clear(options.out)
            demos.append(load_neurons(options, found))
            real_cells(demos[0], attempt)
            demos.append(load(options, found))
            attempt("simulated cells: embedding", lambda: embed(demos[-1]))
        else:
            demos.append(load(options, found))
            clear(options.out)
            attempt("embed and UMAP", lambda: embed_and_map(demos[-1]))
            attempt("annotation", lambda: annotate(demos[-1]))
        over_ages(demos[-1], attempt)
    except KeyboardInterrupt:
        sys.exit(f"\nInterrupted. {options.out}/ holds the figures, {TABLE} and the cells as far as they went.")
    finally:  # what was done is not lost with what went wrong
        for demo in demos:
            keep(demo)
    report(demos, seconds)
    return demos[-1].table()


if __name__ == "__main__":
    main()
