"""Which part of the embedding earns its place? Parts of a model, and what could stand in for them, on sealed libraries.

``python -m benchmarks.pretraining.ablation MODEL`` compares the cell token alone, the profile code alone and everything
together with the code and a BERT that was never trained, an MLP of BERT's size trained on the same cells for the same
objective, and principal components and closed-form directions of the same pretraining cells. What is fitted on these
needs ``MODEL/checkpoints`` (``keep_checkpoints=True`` in pretraining), and is left out where that is not there. With
``--scvi-python``, the Python of an environment with scvi-tools 1.5, scvi-tools' JointEmbeddingSCVI is fitted to each
task's training cells. Every column is subtracted from the profile code alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scanpy as sc

import scflyformer as sf
from scflyformer.models._save import CHECKPOINTS
from scflyformer.training._prepare import open_corpus

from ..lib.command import new_parser
from ..lib.data import Data, Fit
from ..lib.report import report
from ..lib.representations import Part, Pca, Scvi
from ..lib.splits import VALIDATION, WHOLE_EXCLUDE
from .probing import Split, Task, probed
from .tasks import Bench
from .variants import Mlp, components, untrained_bert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflyformer.models import Model

    from ..lib.representations import Representation

TASKS = ("head labels", "head neighbours", "body labels", "body neighbours", "davie labels", "davie neighbours")
REFERENCE_CELLS = 5000
"""Reference cells of head and body."""
SCVI_LATENT, SCVI_EPOCHS = 30, 60


def columns_of(
    work: Path, model: Model, passes: float, *, validation: Sequence[str] = VALIDATION, scvi_python: str | None = None
) -> list[Representation]:
    """Return the columns, the profile code alone first; ``validation``: samples held out in pretraining."""
    parts, width = model.parts(), model.embedding_size
    directions = slice(parts["directions"][0], parts["directions"][1] + 1)
    columns: list[Representation] = [
        Part(work, model.path, "code alone", slice(model.hidden_size, width)),
        Part(work, model.path, "token alone", slice(0, model.hidden_size)),
        Part(work, model.path, "everything", slice(0, width)),
        Part(work, model.path, "directions alone", directions),
        Part(work, untrained_bert(work, model), "code and untrained BERT", slice(0, width)),
    ]
    if (model.path / CHECKPOINTS).exists():
        corpus = open_corpus(model.path, validation=validation, seed=0)
        pca = components(work, model, corpus.store, corpus.train_cells)
        columns += [Mlp(work, model, corpus, passes=passes, with_code=with_code) for with_code in (False, True)]
        columns.append(Part(work, pca, "PCA of pretraining cells", directions))
    if scvi_python is not None:
        columns.append(Scvi(work, SCVI_LATENT, joint=True, python=scvi_python, max_epochs=SCVI_EPOCHS))
    return [*columns, Pca(work)]


def antenna(folder: Path, kind: str) -> Task:
    """Return types or neighbours of olfactory neurons, whole transcriptomes, on plates that no pretraining saw."""
    data = Data(folder / "fly_whole" / "antenna_orn.h5ad", lambda obs: np.arange(len(obs)))
    test = data.obs["batch"].isin(WHOLE_EXCLUDE).to_numpy()
    codes = np.unique(data.obs["cell_type"].astype(str), return_inverse=True)[1]
    split = [Split(Fit("plates", ~test), np.flatnonzero(~test), np.flatnonzero(test))]
    views = {"": np.ones(int(test.sum()), dtype=bool)}
    return Task(f"antenna {kind}", kind, data, codes, split, views, f"P5, P6, P7 held out, {codes.max() + 1} types")


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = new_parser(__doc__)
    parser.add_argument("model", help="name or folder of a model with a cell token and a profile code")
    parser.add_argument("--passes", type=float, default=2.5, help="of the MLP over these cells (default: %(default)s)")
    parser.add_argument("--scvi-python", help="Python of an environment with scvi-tools 1.5 (default: no such column)")
    parser.add_argument("--work", type=Path, default=Path("ablation-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    args = parser.parse_args()
    sc.settings.verbosity = 0
    columns = columns_of(args.work, sf.models.load(args.model), args.passes, scvi_python=args.scvi_python)
    bench = Bench(args.data, train_cells=REFERENCE_CELLS)
    tasks = [
        *(bench.makers[name] for name in TASKS),
        *(partial(antenna, args.data, kind) for kind in ("labels", "neighbours")),
    ]
    results = [row for make in tasks for row in probed(make(), columns, args.work)]
    report(
        results, columns[0].name, "Parts of the embedding, and what could stand in for them", args.out, columns="part"
    )


if __name__ == "__main__":
    main()
