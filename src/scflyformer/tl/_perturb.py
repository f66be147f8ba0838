"""In silico perturbation: which genes, taken away or switched on, move cells from one state towards another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from scflyformer import _log
from scflyformer._deprecated import former_values, moved_to_settings, now_constant
from scflyformer._running import Running
from scflyformer.data import _adata
from scflyformer.data._embedding import EMBEDDING_KEY
from scflyformer.data._reading import Reading
from scflyformer.perturbation._analysis import analyse
from scflyformer.perturbation._checkpoint import Checkpoint
from scflyformer.perturbation._edit import Kind
from scflyformer.perturbation._former import former_arguments
from scflyformer.perturbation._reasons import absent_words
from scflyformer.perturbation._request import PerturbRequest, sort_readouts

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@moved_to_settings("synonyms", "device", "dtype", "batch_tokens")
@former_arguments
@now_constant(n_label=1000, centroid="mean")
def perturb(
    adata: AnnData | MuData,
    *,
    genes: str | Sequence[str | tuple[str, str]] | Mapping[str, str | Sequence[str]],
    kind: Kind = "delete",
    dose: float = 0.5,
    method: Literal["auto", "exact", "screen"] = "auto",
    n_top: int = 50,
    state_key: str,
    start: Any,
    goal: Any,
    alt: Any = None,
    sample_key: str | None = None,
    groupby: str | None = None,
    use_rep: str = EMBEDDING_KEY,
    model: str | os.PathLike[str] | None = None,
    pooling: Literal["auto", "cell", "code", "mean"] = "auto",
    readouts: Sequence[str | os.PathLike[str]] = (),
    downstream: int | Literal["all"] = 0,
    n_null: int = 200,
    max_cells: int | None = 100,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    key_added: str = "perturb",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Perturb genes in start cells and measure how far the cells move towards the goal state.

    The shift of a cell towards state s is cos(v', m_s) − cos(v, m_s), with v and v' its embedding before and after the
    perturbation and m_s the state's centroid (Theodoris et al. 2023, Nature 618, 616-624); above 0, the perturbation
    moves start cells towards the goal. Goal cells are never perturbed, and no cell is compared with cells of its own
    sample: centroids come from the *other* samples (of the start, with a single sample: from the other start cells).

    Deleting any highly expressed gene moves a cell, so each gene is compared with ``n_null`` null genes matched for
    detection rate, rank and displacement and, with enough samples, with itself under states permuted over whole
    samples. The net shift (towards the goal minus towards the start) is split into the linear part of the embedding,
    which is largely the gene's own expression, and what the transformer adds. If held-out start and goal cells can
    hardly be told apart, no shift between them means anything, and the results say so. The perturbation changes the
    model's input, not a fly: a shift is a hypothesis.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts; see :func:`scflyformer.pp.tokenize`.
    genes
        Gene names (FBgn, symbol, CG id or synonym): each is perturbed alone. A dict of set name to names: the genes of
        a set are perturbed together. A tuple of two names in the list: both are perturbed together, and their
        interaction is the shift of both less the shifts of each; all pairs are ``[*genes,
        *itertools.combinations(genes, 2)]``. ``"all"``: every gene that at least 10 perturbed cells of a group express,
        each compared with the others of its group.
    kind
        ``"delete"``: the gene's token is removed and later ones move up. ``"knockdown"``: it moves back by ``dose`` of
        the ranks behind it, and takes the value of that rank. ``"mask"``: it is masked, as in pretraining. These are
        done in the start cells that express the gene (within the model's length). ``"overexpress"``: the gene is put in
        front, with the value of the cell's first gene. ``"activate"``: it moves forward by ``dose`` of the ranks before
        it, a gene that the cell lacks from behind the last one. These are done in all start cells, whether or not they
        express it.
    dose
        Share of the way of ``"knockdown"`` and ``"activate"``, above 0 and at most 1; at 1 ``"activate"`` is
        ``"overexpress"``.
    method
        ``"exact"``: each edited cell goes through the network. ``"screen"``, with ``genes="all"`` and
        ``kind="delete"``: results are first-order estimates, from one pass of a cell forward and one back for each
        sample; the ``n_top`` genes of each group that stand out most in `net_shift`, and 50 random genes that measure
        the quality of the estimates, are then run exactly. Memory does not grow with genes and groups. ``"auto"``: a
        screen where that is possible and neither ``readouts`` nor ``downstream`` are asked for.
    n_top
        Genes of each group that a screen runs exactly.
    state_key
        Column of `obs` with the state: numbers, text or categories.
    start, goal
        Value of ``state_key`` where cells come from and where they should go, or a list of values taken together.
    alt
        Further states to report shifts towards: a value, or a list with one entry (a value or list of values) each.
    sample_key
        Column of `obs` with the sample (library, animal). Shifts are then averaged within samples first, and samples,
        not cells, count as independent.
    groupby
        Column of `obs`, such as the cell type: each group is perturbed and compared separately.
    use_rep
        With ``model=None``: key of `obsm` with an embedding, whose model runs. Cells are embedded again in any case.
    model
        Name of a model, or its folder. `None`: the model that made `obsm[use_rep]`, else `settings.model` (``"fly"``).
    pooling
        ``"cell"``: v is the cell token and the profile code. ``"code"``: the profile code alone, many times faster.
        ``"mean"``: v and v' are means over the genes present both before and after. ``"auto"``: what the embedding in
        `obsm[use_rep]` is, if its model runs, else ``"cell"`` where the model has a cell token, else the mean.
    readouts
        Folders of a clock of the embedding (:func:`scflyformer.tl.age_clock` with ``save``), of a classifier
        (:func:`scflyformer.tl.annotate` with ``save``), or of both: the change in predicted age is read off as well,
        and the change in the probability of the goal, where it is one of the classes, else of each cell's own class.
    downstream
        Other genes to report for each perturbed one, those whose decoded expression changes most; ``"all"`` for all.
    n_null
        Most null genes for each tested gene (for a set: null sets of the same size): the nearest in detection rate,
        mean rank and first-order displacement, none further than two standard deviations in any, and at most 5 % of the
        genes there are (20 where that is more). A warning names genes with fewer.
    max_cells
        Most start cells of a group to perturb, drawn as evenly over samples as they allow; `None` for all.
    checkpoint
        File with the results so far, from which the same call resumes after an interruption; deleted at the end.
    seed
        Seed of the choice of cells, null genes and permutations. None depends on the order of cells or genes.
    layer
        Layer with the expression. `None`: the one that the embedding was made from, else `X`.
    gene_key
        Column of `var` with gene names. `None`: the one that the embedding was made with, else `var_names`.
    mod
        Modality of a MuData.
    key_added
        Name of the key written, in `uns`.
    copy
        Return a changed copy instead of writing to ``adata``.

    Returns
    -------
    `None`, or the copy where ``copy`` is true. Written is `uns[key_added]`, a dict with

    `"results"` : DataFrame, a row per gene (set), group and readout
        `gene` as asked, `group` (``"all"`` without ``groupby``), `readout`, `kind`; `n_cells` perturbed and `n_samples`
        they come from (1 without ``sample_key``); `shift`, the mean over sample means; `ci_low`, `ci_high`, its 95 % t
        interval over samples, or over cells where there is one sample (NaN for one cell). Compared with null genes,
        whose shifts are scaled to the gene's own displacement: `null_mean`; `effect` = (shift − `null_mean`) / their
        standard deviation; `n_null` of them; `p_value` = (1 + number of null genes at least as far from the null
        median) / (1 + `n_null`), two-sided, NaN where the cells come from one sample. `p_states`, of shift and net
        shifts: how often the shift is as large among 1,000 permutations of the states; whole samples change their
        state, those with cells of both swap them; NaN below 3 samples of a state or 100 ways to deal them (5 samples of
        each state give 252, and 7 samples of both 128). `fdr`, and in `test` what it comes from. ``"permuted
        samples"``, in a scan of all genes: the mean number of genes that stand out as far under permutations, by the
        number that do (Tusher et al. 2001), and at least the p-value of the scan as a whole. ``"null genes and permuted
        samples"``, for named genes: Benjamini-Hochberg over the larger of `p_value` and `p_states` of the readout's
        rows. ``"null genes"``: over `p_value`, where samples are too few to be permuted. ``"descriptive"``: none, the
        cells come from one sample; ``"none"``: nor are there null genes. `log_fc`, log2 of goal over start expression
        (for a set the mean; about ±30 where a state lacks the gene), the answer without a model; `noise`, how far an
        unedited cell moves when it is embedded again; `interpretable`, whether held-out cells of the two states can be
        told apart; `gene_id` (joined by ``+``). `readout` says what `shift` and all that goes with it are of:
        ``"shift"``, the shift towards the goal; ``"shift_start"``, that towards the start; ``"shift_<state>"`` for each
        of ``alt`` (``/`` written as ``|``); ``"age"``, the change in the age that a clock predicts, in its unit;
        ``"probability"``, the change in a classifier's probability; ``"net_shift"``, the shift towards the goal minus
        that towards the start, which cancels moves away from both; ``"net_shift_linear"``, the net shift of the profile
        code alone, the cell token held still; ``"net_shift_transformer"``, the rest. (The last two with a model that
        has a profile code, and not where it is all that is read.) Rows of one readout stand together, ``"shift"``
        first.
    `"summary"` : text
        A paragraph: what was asked, what passed, what share is linear, and what the results cannot show.
    `"cells"` : DataFrame, a row per perturbed cell
        `gene`, `group`, `cell` (name in `obs`), `sample`, and a column for each readout; of a screen, of the genes that
        were run exactly.
    `"null"` : DataFrame, a row per null gene of named genes
        `gene` that it is compared with, `group`, `null_gene`, `n_cells`, and a column for each readout.
    `"separability"` : DataFrame, a row per group
        `auroc`, the chance that a held-out goal cell is placed nearer to the goal than a held-out start cell; `ci_low`,
        `ci_high`, its 95 % bootstrap interval; `held_out` (``"sample"``; ``"cell"`` where a state has a single
        sample); `n_start`, `n_goal`; `interpretable`: at least 0.6, the interval above 0.5.
    `"interactions"` : DataFrame, a row per pair and group
        `gene`, `gene_a`, `gene_b`, `group`, `kind`, `n_cells` that hold both, `n_samples`, `interaction`, `ci_low`,
        `ci_high`, and `null_mean`, `effect`, `p_value`, `fdr`, `n_null` compared with pairs of null genes.
    `"screen"`, `"agreement"` : DataFrames
        Of a screen, a row per gene and group that was run exactly: `gene`, `gene_id`, `group`, `n_cells`, `estimate`
        and `exact` net shift, `top`, whether it stood out. By group `n_genes`; `n_exact` genes drawn by chance and the
        `spearman` of their estimates and exact shifts; likewise `n_top`, `spearman_top`.
    `"downstream"` : DataFrame, a row per perturbed gene, group and other gene
        `gene`, `group`, `target`, `target_id`; `expression_change` on the decoder's logarithmic scale, `null_mean`,
        `effect`, `p_value` compared with null genes, `fdr` over the measured genes (NaN without a decoder, and for mean
        pooling); `moved`, 1 − cosine between its contextual embeddings before and after, in `n_cells`.
    `"absent"` : array of names
        Genes asked for that are not in the model's vocabulary, that the data do not measure, or that no perturbed cell
        expresses; `skipped` says which.
    `"skipped"` : DataFrame
        `gene`, `group`, `reason`: every combination that has no row, why.
    `"states"` : dict
        Readout to the state it is about.
    `"coverage"`, `"params"` : dict
        Genes recognised; arguments, model, model hash and package version.

    Raises
    ------
    KeyError
        When a column is missing; lists near names.
    ValueError
        When a state has no cells (lists those there are), states share cells, no gene is known or expressed, or an
        option is out of range.

    Examples
    --------
    Two genes that were planted in the simulated cells to rise with age are deleted in old cells. 20 null genes and few
    cells keep this quick; leave ``n_null`` and ``max_cells`` at their defaults for real work.

    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.perturb(
    ...     adata,
    ...     genes=["Msp300", "Hsp68"],
    ...     state_key="age",
    ...     start=30,
    ...     goal=0,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     n_null=20,
    ...     max_cells=20,
    ... )

    First check whether the model can tell the two states apart.

    >>> apart = sf.get.perturb_df(adata, table="separability")
    >>> apart[["group", "held_out", "interpretable"]]
      group held_out  interpretable
    0   all   sample           True

    Then the number of cells with the gene, and the shift towards the goal minus that towards the start, compared with
    matched null genes. Three samples of a state are too few to be permuted.

    >>> results = sf.get.perturb_df(adata, readout="net_shift")
    >>> results[["gene", "kind", "n_cells", "n_samples", "n_null", "test"]]
         gene    kind  n_cells  n_samples  n_null        test
    0  Msp300  delete       17          3      20  null genes
    1   Hsp68  delete       20          3       6  null genes
    >>> (results["shift"] > results["null_mean"]).tolist()
    [True, True]
    >>> print(adata.uns["perturb"]["summary"])
    Deletion of 2 genes in 20 cells of age 30, towards 0. In net_shift 0 of 2 pass fdr 0.05, ...
    """
    clock, classifier = sort_readouts(readouts)
    request = PerturbRequest(
        genes=genes,
        kind=kind,
        dose=dose,
        method=method,
        n_top=n_top,
        state_key=state_key,
        start=start,
        goal=goal,
        alt=alt,
        sample_key=sample_key,
        groupby=groupby,
        use_rep=use_rep,
        model=model,
        pooling=pooling,
        clock=clock,
        classifier=classifier,
        downstream=downstream,
        n_null=n_null,
        max_cells=max_cells,
        seed=seed,
        reading=Reading.as_set(layer, gene_key),
        **former_values(),
    )
    request.check()
    running = Running.as_set().exact()
    out, cells = _adata.start(adata, mod=mod, copy=copy)
    found = analyse(cells, request, running, checkpoint=checkpoint)
    _adata.write(cells, uns={key_added: found})
    if checkpoint is not None:
        Checkpoint(checkpoint, "").clear()
    if len(found["absent"]):
        _log.warning(f"perturb: left out: {absent_words(found)}.")
    n_results = (found["results"]["readout"] == "shift").sum()
    _log.info(
        f"perturb: {n_results} results from {len(found['cells'])} perturbed cells, in .uns[{key_added!r}]['results']"
    )
    return out if copy else None
