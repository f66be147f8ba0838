"""The model card: what a folder's README.md says, from what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary

_OBJECTIVES = {
    "cell": "15 % of genes masked and predicted, and a cell token from which the cell's expression profile over the "
    "genes its source measured is decoded, from a random part of the cell's counts",
    "mlm": "15 % of genes masked and predicted (Theodoris et al. 2023)",
}
_CODE = """
The embedding is the cell token ({hidden_size} numbers) and a profile code ({n_directions} and {code_size}) side by
side. The code is read off the values of all genes: directions of expression in which two random halves of a cell's
counts agree most, and a small network, with weights of its own for each gene, trained to find, from one half of a
cell's counts, the other half among cells of the same sample. The cell token starts from it, and learns the same: to
find the rest of a cell's counts. `pooling="code"` gives the code alone, without running BERT.
"""
_ORIGIN = """
Training went on from `{name}` (sha256 {sha256:.12}), which knew {n_genes:,} genes. Genes new here: {n_new:,}, such as:
{such_as}.
"""


def model_card(name: str, vocabulary: Vocabulary, metrics: dict[str, Any], provenance: dict[str, Any]) -> str:
    """Return a model card in Markdown."""
    options, held = provenance["options"], metrics["held_out"]
    data = "\n".join(
        f"| {row['name']} | {row['n_used']:,} of {row['n_cells']:,} | {row['n_genes']:,} | {row['sha256'][:12]} |"
        for row in provenance["data"]
    )
    exclude = "; ".join(f"{key}: {', '.join(map(str, row))}" for key, row in provenance["settings"]["exclude"].items())
    profile = (
        f"| decoded profile, Kullback-Leibler divergence, nats a cell | {held['profile']:.3f} |\n"
        if "profile" in held
        else ""
    )
    if "contrast" in held:
        profile += f"| the rest of a cell's counts, found among those of its sample | {held['contrast']:.3f} |\n"
    read = options.get("bert_len", options["max_len"])
    code = _CODE.format(**options) if options.get("code_size") and options["objective"] == "cell" else ""
    init = provenance["init"]
    origin = "" if init is None else _ORIGIN.format(**init, such_as=", ".join(init["new_genes_such_as"]) or "none")
    unit = {"sample": f"whole samples ({', '.join(held['samples'])})", "cell": "single cells"}[held["split_unit"]]
    return f"""# {name}

A BERT over ranked genes ({options["n_layers"]} layers, width {options["hidden_size"]}, {read} genes
a cell, {vocabulary.n_genes:,} genes known), pretrained without labels by `scflyformer.tl.pretrain`.

Open it with `scflyformer.models.load("{name}")` or pass the folder's path as `model=`.
`transformers.BertModel.from_pretrained` loads the encoder alone.

## Objective

{_OBJECTIVES[options["objective"]]}.
{code}
## Data

| source | cells used | genes | sha256 |
| --- | --- | --- | --- |
{data}
{origin}
Excluded before anything was computed: {exclude or "nothing"}.
What was seen, with hashes, is in `provenance.json`; `scflyformer.models.contamination` tells which of your cells were.

## Held-out loss

Held out: {unit}, {held["n_cells"]:,} cells, of which {held["n_cells_scored"]:,} were scored.

| | nats |
| --- | --- |
| masked genes | {held["mlm"]:.3f} |
| the same from gene frequencies within the source | {held["unigram_by_source"]:.3f} |
| the same from gene frequencies | {held["unigram"]:.3f} |
{profile}
## Limits

The model knows only the genes of `vocab.tsv`. A low loss does not by itself make an embedding useful; compare it with
expression on your own held-out samples, as `tl.annotate` and `tl.age_clock` do.
"""
