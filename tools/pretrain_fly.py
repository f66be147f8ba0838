"""Pretrain the models that are shipped, ``fly`` and ``fly-tiny``, and the article's recipe at fly-tiny's shape.

``python -m tools.pretrain_fly fly --drawn drawn --out fly --batch-tokens 24576 --threads 2`` sees, without labels and
less every evaluation library, the four large fly sets, the small sets of whole transcriptomes, and cells drawn from
FlyBase's cluster means, which ``python -m tools.draw_cells`` writes. The same command goes on with an interrupted run.
On two CPU cores it takes half an hour. On a GPU, which was not tried, add ``--device cuda --epochs 20``. ``fly-tiny``
sees the same, and keeps the genes that most cells express; ``fly-tiny-mlm`` sees the four large sets alone. For a
model that is to ship, ``python -m tools.cell_manifests`` writes the list of training cells anew, smaller and without
drawn cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import scflyformer as sf
from benchmarks.lib.command import new_parser
from benchmarks.lib.splits import EXCLUDE, VALIDATION, WHOLE_EXCLUDE

SETS = ("fca_head", "fca_body", "baker_brain", "davie_brain_aging")
WHOLE_SETS = (
    "fly_whole/hung_midgut_1923", "fly_whole/larval_cns_1406", "fly_whole/antenna_orn", "fly/bageritz_wingdisc_lib1",
)  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "fly": {"n_heads": 3, "learning_rate": 1.2e-3},
    "fly-tiny": {
        "hidden_size": 36,
        "n_layers": 3,
        "n_heads": 3,
        "code_size": 32,
        "n_directions": 112,
        "learning_rate": 1.5e-3,
    },
    "fly-tiny-mlm": {
        "hidden_size": 80,
        "n_layers": 3,
        "max_len": 1024,
        "learning_rate": 1.5e-3,
        "objective": "mlm",
        "epochs": 0.56,
    },
}
"""Options other than the defaults."""
MIN_CELLS = {"fly": 10, "fly-tiny": 2800, "fly-tiny-mlm": 10}
DTYPES = {"fly": "bfloat16", "fly-tiny": "bfloat16", "fly-tiny-mlm": "float32"}


def pretrain(folder: Path, out: Path, name: str, *, drawn: Path | None = None, **changes: Any) -> None:
    """Pretrain ``name`` on the training libraries of the sets in ``folder``, and on the cells in ``drawn``.

    ``changes`` are options of the run, other than those of ``name``.
    """
    files, exclude = [folder / "fly" / f"{name}.h5ad" for name in SETS], EXCLUDE
    if drawn is not None:
        files += [folder / f"{name}.h5ad" for name in WHOLE_SETS] + sorted(drawn.glob("*.h5ad"))
        exclude = EXCLUDE | {"batch": EXCLUDE["batch"] + WHOLE_EXCLUDE}
    options = sf.tl.PretrainOptions(**SHAPES[name] | {"dropout": 0.0, "eval_steps": 250, "save_steps": 250} | changes)
    with sf.settings.override(synonyms=folder / "tables" / "symbol_to_fbgn_merged.tsv", dtype=DTYPES[name]):
        sf.tl.pretrain(
            files,
            out=out,
            exclude=exclude,
            sample_key="batch",
            validation=VALIDATION,
            gene_key="FBgn",
            min_cells=MIN_CELLS[name],
            options=options,
            weights="float16",
        )


def main() -> None:
    """Read arguments and train."""
    parser = new_parser(__doc__)
    parser.add_argument("name", choices=list(SHAPES), help="which model")
    parser.add_argument("--out", type=Path, required=True, help="model folder to make")
    parser.add_argument("--drawn", type=Path, help="with fly and fly-tiny: folder of cells that draw_cells.py wrote")
    parser.add_argument("--epochs", type=float, help="passes over the cells, instead of the model's own")
    parser.add_argument("--batch-tokens", type=int, default=8192, help="tokens a step (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where to train (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads; torch decides where not given")
    args = parser.parse_args()
    if (args.name != "fly-tiny-mlm") != (args.drawn is not None):
        parser.error("--drawn goes with fly and fly-tiny, which need it")
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    changes = {} if args.epochs is None else {"epochs": args.epochs}
    with sf.settings.override(device=args.device):
        pretrain(args.data, args.out, args.name, drawn=args.drawn, batch_tokens=args.batch_tokens, **changes)


if __name__ == "__main__":
    main()
