"""Pretrain a model on unlabelled cells of any species."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from scflyformer import _log
from scflyformer._deprecated import moved_to_settings
from scflyformer._running import Running
from scflyformer._settings import settings
from scflyformer.training._options import PretrainOptions, RunOptions, flat_options, require_count
from scflyformer.training._recipes import by_recipe

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    OneSource: TypeAlias = AnnData | MuData | str | os.PathLike[str]


@moved_to_settings("synonyms", "device", "dtype")
@flat_options
@by_recipe
def pretrain(
    source: OneSource | Sequence[OneSource],
    *,
    out: str | os.PathLike[str],
    recipe: Literal["afca"] | None = None,
    init: str | os.PathLike[str] | None = None,
    new_genes: Literal["add", "ignore"] = "add",
    exclude: Mapping[str, Sequence[str]] | None = None,
    sample_key: str | None = None,
    validation: float | Sequence[str] = 0.05,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    min_cells: int = 10,
    options: PretrainOptions | None = None,
    weights: Literal["float32", "float16"] = "float32",
    keep_checkpoints: bool = False,
    num_workers: int | Literal["auto"] = "auto",
    seed: int = 0,
) -> None:
    """Pretrain a model on unlabelled cells and write a model folder.

    The vocabulary is the union of the genes of all sources. A gene that one source did not measure is unknown there,
    not zero: it enters neither that source's medians nor the profile its cells must reproduce. Counts are written once
    to a token store in ``out/checkpoints`` and memory-mapped, so that files may be larger than memory. A run that was
    interrupted goes on from its last checkpoint when the same call is made again, with the same batches and masks. The
    weights saved are those with the lowest held-out loss.

    Processes that torchrun started share the cells of each batch, so that their number does not change the result; the
    first one reads the sources and writes ``out``, which all must see: :doc:`/many_gpus`.

    Parameters
    ----------
    source
        An object, or the path of an h5ad file or zarr store (or h5mu, with ``mod``), or a list of them, each with cells
        of one platform over one panel of genes: counts, or their log1p. Labels are not read.
    out
        Model folder to make.
    recipe
        Settings by name, instead of the defaults: ``"afca"``, for the Aging Fly Cell Atlas (:doc:`/atlas_model`). What
        is given beside it, also in ``options``, stays. Where a file lacks libraries or FlyBase ids, they are made as
        :func:`scflyformer.datasets.afca` makes them.
    init
        A model (name or folder) to go on from: its weights, the tokens and medians of its genes, and its shape are
        kept, whatever the arguments about the shape say. The genes of the sources are matched by id, symbol or synonym.
    new_genes
        With ``init``: what becomes of genes that the model lacks and ``min_cells`` cells express. ``"add"`` appends
        them to its vocabulary under the ids that the sources give them, with medians on its scale and weights that
        say little at first; ``"ignore"`` keeps the vocabulary as it is.
    exclude
        Cells to leave out before anything is computed, such as ``{"batch": ["FCA4", "FCA13"]}``: `obs` column →
        value or values. A source without the column keeps its cells; a value that occurs nowhere is an error.
    sample_key
        Column of `obs` with the sample (library, animal). Whole samples are then held out. Without it single cells are,
        and ``metrics.json`` says so.
    validation
        Share of the cells to hold out for the reported loss (at least one sample), or the names of the samples.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names, which must mean the same in all sources; `var_names` by default. Genes without
        a name are left out.
    mod
        Modality of a MuData, in all sources.
    min_cells
        Genes that fewer cells express do not enter the vocabulary.
    options
        What the model learns, its shape and the steps of training; those of :class:`scflyformer.tl.PretrainOptions`
        where `None`.
    weights
        Number format of the saved weights.
    keep_checkpoints
        Keep ``out/checkpoints`` after the model is written.
    num_workers
        Processes that read batches ahead of the device, 0 for none; ``"auto"``: 4 on CUDA, else 0. No influence on the
        result.
    seed
        Seed of weights, batches and masks.

    Returns
    -------
    Nothing. Writes the model folder ``out``: ``config.json``, ``model.safetensors``, ``vocab.tsv``, ``metrics.json``
    (held-out loss and unigram baselines, nats a gene), ``provenance.json``, ``training.tsv`` (the loss curve, for
    :func:`scflyformer.pl.training`), ``cells.safetensors`` (fingerprints of the cells used, for
    :func:`scflyformer.models.contamination`) and ``README.md``.

    Raises
    ------
    FileExistsError
        When ``out`` is taken by anything but an unfinished run.
    FileNotFoundError
        When a source does not exist, or another process does not see ``out``.
    KeyError
        When a key does not exist in a source; lists near names.
    ValueError
        When an argument is out of its range, a file cannot be read, values are no expression, nothing is left to train
        on or to hold out, or ``out`` holds an unfinished run of other settings. Nothing is left in ``out`` then, except
        of such a run.
    OtherProcessError
        Under torchrun, when another process failed; its words are repeated. A `RuntimeError`.

    Notes
    -----
    Rank-value encoding and masked pretraining follow Theodoris et al. 2023 (Nature 618, 616-624); finding the rest of a
    cell's counts is contrastive learning after van den Oord et al. 2018 (arXiv:1807.03748).

    Examples
    --------
    A very small network, which shows the steps and is of no use; the defaults are for work. ``source`` may as well be a
    list of files.

    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.pretrain(
    ...     adata,
    ...     out="my-model",
    ...     sample_key="batch",
    ...     options=sf.tl.PretrainOptions(
    ...         hidden_size=32, n_layers=1, code_size=16, n_directions=16, code_epochs=1, epochs=0.5
    ...     ),
    ... )
    >>> model = sf.models.load("my-model")
    >>> model.metrics["held_out"]["split_unit"]
    'sample'
    >>> sf.tl.embed(adata, model="my-model")
    >>> adata.obsm["X_scflyformer"].shape
    (200, 64)
    """
    from scflyformer.genes._synonyms import read_synonyms
    from scflyformer.models import load
    from scflyformer.network._device import pick_place
    from scflyformer.training._prepare import RunIdentity, open_corpus, prepare, require_free
    from scflyformer.training._processes import processes
    from scflyformer.training._run import run, shape_of
    from scflyformer.training._sources import CorpusRequest, open_sources

    options = options or PretrainOptions()
    target = Path(out).expanduser().resolve()
    require_free(target)
    start_from = None if init is None else load(init)
    place, picked = pick_place(Running.as_set())
    number = str(picked).removeprefix("torch.")
    if number == "float16" and place.type != "cuda":
        raise ValueError(f"dtype='float16' trains on CUDA only, and this run is on {place.type}; take 'float32'.")
    if weights not in ("float32", "float16"):
        raise ValueError(f"weights={weights!r} is unknown; expected 'float32' or 'float16'.")
    if new_genes not in ("add", "ignore"):
        raise ValueError(f"new_genes={new_genes!r} is unknown; expected 'add' or 'ignore'.")
    require_count("min_cells", min_cells, least=1)
    if num_workers != "auto":
        require_count("num_workers", num_workers, least=0)
    run_options = RunOptions.of(options, {} if start_from is None else shape_of(start_from), seed=seed, dtype=number)
    if start_from is not None and start_from.has_cell_token != (options.objective == "cell"):
        before = "cell" if start_from.has_cell_token else "mlm"
        raise ValueError(
            f"init={str(init)!r} was trained with objective={before!r}, not {options.objective!r}; pass that one."
        )
    given: list[Any] = list(source) if isinstance(source, list | tuple) else [source]
    if not given:
        raise ValueError("source is an empty list; give an AnnData, or the path of an h5ad file or a zarr store.")
    named = settings.synonyms
    table = None if named is None else read_synonyms(named)
    excluded = {key: _as_list(values) for key, values in (exclude or {}).items()}
    held_out = validation if isinstance(validation, Real) else _as_list(validation)

    request = CorpusRequest(
        exclude=excluded,
        validation=held_out,
        sample_key=sample_key,
        layer=layer,
        gene_key=gene_key,
        mod=mod,
        min_cells=min_cells,
        new_genes=new_genes,
        synonyms=None if named is None else Path(named).name,
        recipe=recipe,
    )

    def write_corpus() -> RunIdentity:
        with open_sources(given, request) as sources:
            identity = RunIdentity(
                options=run_options,
                sources=[each.record for each in sources],
                init=None if start_from is None else start_from.sha256,
                request=request,
            )
            vocabulary = None if start_from is None else start_from.vocabulary
            prepare(sources, target, identity, vocabulary=vocabulary, synonyms=table)
        return identity

    with processes(place, num_workers) as group:
        identity = group.from_first(write_corpus)
        held = run(
            group.each(lambda: open_corpus(target, validation=held_out, seed=seed)),
            target,
            identity,
            init=start_from,
            weights=weights,
            keep_checkpoints=keep_checkpoints,
            processes=group,
        )
        _log.info(
            f"Pretrained {target}: held-out masked genes {held['mlm']:.3f} nats, "
            f"unigram {held['unigram_by_source']:.3f}."
        )


def _as_list(values: Any) -> list[Any]:
    """Return values as a list; one text is one value, not its letters."""
    return [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
