"""Simulated cells with planted drivers: what a scan finds of them, and what it calls besides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import scflyformer as sf

from .decoded import auroc

if TYPE_CHECKING:
    from pathlib import Path

Corpus = Literal["atlas", "states"]
START, GOAL = "start", "goal"
READOUTS = ("net_shift", "net_shift_linear", "net_shift_transformer", "shift")
"""What genes are called by."""
KINDS = ("driver", "target", "decoy", "decoy target", "other")
"""What a gene is: a planted driver, a member of its module, a regulator that is alike in both states, a member of that
one's module, or none of these."""
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "n_layers": 2, "n_heads": 4, "max_len": 512, "code_size": 64, "n_directions": 64,
    "dropout": 0.0, "learning_rate": 2e-3, "warmup_steps": 20, "eval_steps": 100, "save_steps": 1000,
}  # fmt: skip


@dataclass(frozen=True)
class Design:
    """Sizes and strengths of a simulation.

    ``n_targets`` genes are the module of each regulator. A driver is on in a share of the cells by state, a decoy in
    ``on_decoy`` of both; an active regulator multiplies its targets by ``fold``. ``sample_sd`` and ``cell_sd`` are
    standard deviations of log rate: of each gene, and of depth, by sample, and of depth by cell. ``seed`` is of what
    the genes are.
    """

    n_genes: int = 400
    n_drivers: int = 12
    n_decoys: int = 12
    n_targets: int = 4
    n_samples: int = 8
    n_cells: int = 100
    on_start: float = 0.8
    on_goal: float = 0.2
    on_decoy: float = 0.5
    fold: float = 4.0
    sample_sd: float = 0.2
    cell_sd: float = 0.4
    seed: int = 0

    def genes(self) -> pd.DataFrame:
        """Return ``kind``, ``regulator`` (its number, -1 for none) and ``rate`` (mean counts at depth 1) by gene."""
        n = self.n_drivers + self.n_decoys
        if n * (1 + self.n_targets) > self.n_genes:
            raise ValueError(f"{n} regulators with {self.n_targets} targets each need more than {self.n_genes} genes.")
        kinds = np.array(["driver"] * self.n_drivers + ["decoy"] * self.n_decoys)
        members = np.where(kinds == "driver", "target", "decoy target")
        rest = self.n_genes - n * (1 + self.n_targets)
        table = pd.DataFrame(
            {
                "kind": [*kinds, *np.repeat(members, self.n_targets), *["other"] * rest],
                "regulator": [*range(n), *np.repeat(np.arange(n), self.n_targets), *[-1] * rest],
            }
        )
        random = np.random.default_rng(self.seed)
        table["rate"] = np.exp(random.normal(-0.3, 0.8, self.n_genes))
        table.index = pd.Index([f"gene{number:04d}" for number in random.permutation(self.n_genes)])
        return table.sort_index()


def simulate(design: Design, *, seed: int, prefix: str = "", corpus: Corpus = "states") -> ad.AnnData:
    """Draw counts of cells; `obs`: ``state``, ``sample``; `var` as `Design.genes` has it.

    A regulator is on or off in a cell: its rate is ``fold`` times as high, or 0, and the rates of its module are
    ``fold`` times as high where it is on. Each gene's rate varies between samples, depth between cells and samples. Of
    the corpus ``"states"`` regulators are on as often as the design says; of ``"atlas"`` each is on in a share of its
    own of each sample's cells, 0.1 to 0.9, as in samples of many tissues, and states mean nothing.
    """
    genes = design.genes()
    random = np.random.default_rng([design.seed, seed])
    states = np.repeat([START, GOAL], design.n_samples * design.n_cells)
    sample = np.repeat(np.arange(2 * design.n_samples), design.n_cells)
    kind, regulator = genes["kind"].to_numpy(), genes["regulator"].to_numpy()
    heads = np.flatnonzero(np.isin(kind, ["driver", "decoy"]))
    heads = heads[np.argsort(regulator[heads])]
    drives = kind[heads] == "driver"
    share = np.where(drives, np.where(states == START, design.on_start, design.on_goal)[:, None], design.on_decoy)
    if corpus == "atlas":
        share = random.uniform(0.1, 0.9, (2 * design.n_samples, len(heads)))[sample]
    on = random.random(share.shape) < share
    rate = np.tile(genes["rate"].to_numpy(), (len(states), 1))
    rate[:, heads] *= on * design.fold
    module = np.isin(kind, ["target", "decoy target"])
    rate[:, module] *= np.where(on[:, regulator[module]], design.fold, 1.0)
    rate *= np.exp(random.normal(0, design.sample_sd, (2 * design.n_samples, design.n_genes)))[sample]
    depth = (
        random.normal(0, design.cell_sd, len(states)) + random.normal(0, design.sample_sd, 2 * design.n_samples)[sample]
    )
    counts = random.poisson(rate * np.exp(depth)[:, None])
    obs = pd.DataFrame({"state": states, "sample": [f"{prefix}{number:02d}" for number in sample]})
    obs.index = pd.Index([f"{prefix}cell{number:05d}" for number in range(len(obs))])
    return ad.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=obs, var=genes)


def train(
    design: Design, out: Path, *, corpus: Corpus, n_cells: int = 400, epochs: float = 1.5, **changes: Any
) -> Path:
    """Pretrain a small model on ``n_cells`` cells of each of as many other samples; return its folder."""
    if not (out / "config.json").exists():
        cells = simulate(replace(design, n_cells=n_cells), seed=1, prefix="train", corpus=corpus)
        options = sf.tl.PretrainOptions(epochs=epochs, **SHAPE | changes)
        sf.tl.pretrain(cells, out=out, sample_key="sample", options=options)
    return out


def log_fold_changes(adata: ad.AnnData) -> pd.Series:
    """Return log2 of mean counts per 10,000, plus 0.1, of goal cells over start cells, by gene."""
    share = adata.X.multiply(1e4 / adata.X.sum(1)).tocsr()
    start, goal = (share[(adata.obs["state"] == state).to_numpy()].mean(0) for state in (START, GOAL))
    return pd.Series(np.asarray(np.log2((goal + 0.1) / (start + 0.1))).ravel(), index=adata.var_names)


def score(
    results: pd.DataFrame, log_fc: pd.Series, kinds: pd.Series, *, readout: str = "net_shift", sure: float = 0.05
) -> dict[str, float]:
    """Count what the calls of a scan got right; genes are called up to an `fdr` of ``sure``.

    ``n`` genes, ``called`` towards the goal; ``recall`` of drivers, ``recall targets`` of members of their modules;
    ``false``, the share of the calls that are neither, ``false either way`` with those away from the goal; ``auroc``,
    drivers over genes that are neither, by shift; and the same of the trivial answer ``log_fc`` (goal over start) at as
    many calls, ``fold recall``, ``fold recall targets``, ``fold false``, ``fold auroc``. NaN for a share of nothing.
    """
    results = results[results["readout"] == readout]
    kind = kinds.loc[results["gene"]].to_numpy()
    towards = results["shift"].to_numpy()
    either = (results["fdr"] <= sure).to_numpy()
    called = either & (towards > 0)
    fold = -log_fc.loc[results["gene"]].to_numpy()  # a driver is lower in the goal
    taken = np.zeros(len(fold), dtype=bool)
    taken[np.argsort(-fold, kind="stable")[: called.sum()]] = True
    driver, target = kind == "driver", kind == "target"
    rest = ~driver & ~target
    compared = driver | rest

    def share(hits: np.ndarray, of: np.ndarray) -> float:
        return float(hits[of].mean()) if of.any() else float("nan")

    return {
        "n": len(kind), "called": int(called.sum()), "recall": share(called, driver),
        "recall targets": share(called, target), "false": share(rest, called), "false either way": share(rest, either),
        "auroc": auroc(towards[compared], driver[compared]), "fold recall": share(taken, driver),
        "fold recall targets": share(taken, target), "fold false": share(rest, taken),
        "fold auroc": auroc(fold[compared], driver[compared]),
    }  # fmt: skip


def scan(design: Design, model: Path, *, seed: int, max_cells: int) -> dict[str, dict[str, float]]:
    """Simulate cells, delete all genes, and return scores by readout."""
    cells = simulate(design, seed=seed)
    log_fc, kinds = log_fold_changes(cells), cells.var["kind"]
    sf.tl.perturb(
        cells, genes="all", state_key="state", start=START, goal=GOAL, sample_key="sample", model=model,
        max_cells=max_cells, n_top=1, seed=seed,
    )  # fmt: skip
    results = cells.uns["perturb"]["results"]
    return {readout: score(results, log_fc, kinds, readout=readout) for readout in READOUTS}
