"""What a model holds of each gene."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from scflyformer._settings import settings
from scflyformer._words import one_of
from scflyformer.genes._vocabulary import N_SPECIAL

if TYPE_CHECKING:
    from torch import Tensor

    from scflyformer.models import Model
    from scflyformer.network._network import CellBert

Part = Literal["decoder", "directions", "contrast", "token"]
_OBJECTIVE = "only a model trained with objective='cell' has one"
_ABSENT = {
    "decoder": f"no decoder of expression: {_OBJECTIVE}",
    "directions": f"no profile code: {_OBJECTIVE}, with code_size above 0",
    "contrast": f"no weights of a contrast: {_OBJECTIVE}, with code_size above 0, and those of 0.1 had none",
}


def gene_embeddings(
    model: str | os.PathLike[str] | Model | None = None,
    *,
    part: Part = "decoder",
) -> pd.DataFrame:
    """Return what a model holds of each gene, a row a gene, to see which genes are alike.

    Genes whose rows point the same way (cosine) are expressed in the same cells. That is often, not always, because
    they work together: ribosomal proteins are each other's nearest genes, cytochromes P450 are not. The rows sum up
    what the model has read. Plain co-expression answers the same question, and on the whole better; the guide to genes
    has the comparison.

    Parameters
    ----------
    model
        Name of a model, its folder, or a loaded model; `None` for `settings.model` (``"fly"``).
    part
        ``"decoder"``: the gene's row of the decoder, which gives its expression from the cell token: genes alike are
        those that the model expects in the same cells. In `fly` it separates gene families best of the four.
        ``"directions"``: what the gene's value adds to each of the directions of the embedding, the columns
        `directions` (and `adapted`) of :meth:`scflyformer.models.Model.parts`. Directions are made of the 6,000 genes
        on which the halves of training cells agree most; the others (in ``"fly"`` 5,233) have zeros, and no cosine.
        ``"contrast"``: what it adds to the numbers that the contrast reads. ``"token"``: its token's row, from which
        BERT starts, and from which a masked gene is predicted. Rows of genes with no family in common are nearly as
        much alike; every model has them.

    Returns
    -------
    A new data frame; index `gene_id`: the primary id, FBgn in the fly models, and in a model of another species the
    name it was trained with. `symbol`: the symbol, or the id where the model has none. Then the weights, float32, named
    by the part and numbered from 0: ``decoder_0``, ``decoder_1`` and so on. In a model that
    :func:`scflyformer.tl.adapt` made, decoder and token of a new gene are the mean of the five known genes most like
    it.

    Raises
    ------
    ValueError
        When `part` is none of its options, or the model has no such part: one of ``objective="mlm"`` has ``"token"``
        alone. Also for a name of no model, and a folder without one.
    ModelFetchError
        For a model that could not be fetched. A `RuntimeError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> genes = sf.get.gene_embeddings("fly-tiny")
    >>> genes.shape
    (4003, 37)
    >>> genes.loc["FBgn0002626", "symbol"]
    'RpL32'

    The nearest genes of RpL32, by cosine:

    >>> rows = genes.set_index("symbol")
    >>> rows = rows.div((rows**2).sum(axis=1) ** 0.5, axis=0)
    >>> alike = rows @ rows.loc["RpL32"]
    >>> alike.nlargest(4).index.tolist()
    ['RpL32', 'RpL24', 'RpL9', 'RpL13']
    """
    from scflyformer.models import load

    one_of("part", part, get_args(Part))
    if model is None or isinstance(model, str | os.PathLike):
        model = load(settings.model if model is None else model)
    weights = _weights(model.network(), part)
    if weights is None:
        raise ValueError(f"Model {model.name!r} has {_ABSENT[part]}. part='token' is there in every model.")
    table = pd.DataFrame(
        weights.detach().float().cpu().numpy().copy(),
        index=pd.Index(model.vocabulary.gene_ids.astype(object), name="gene_id"),
        columns=[f"{part}_{number}" for number in range(weights.shape[1])],
    )
    table.insert(0, "symbol", model.vocabulary.names.astype(object))
    return table


def _weights(network: CellBert, part: Part) -> Tensor | None:
    """Return the weights of each gene, (n_genes, size), where the network has them."""
    if part == "token":
        return network.bert.embeddings.word_embeddings.weight[N_SPECIAL:]
    if part == "decoder":
        return network.profile_decoder.weight if network.has_cell_token else None
    encoder = network.profile_encoder
    if encoder is None:
        return None
    return encoder.directions if part == "directions" else encoder.contrast_directions
