"""How many genes of a cell should BERT read? Length against what the cell token gains, and against speed.

``python benchmarks/bert_length.py --drawn drawn`` pretrains three small models that differ only
in how many of a cell's genes BERT reads: 256, 512 or 1,024. They see neither the evaluation libraries, nor fca_head
FCA5 and FCA14, nor any cell of davie. Then the cell token is judged by neighbours in FCA5 and FCA14, neighbours and
ages in davie's w1118, and olfactory neurons of other plates, whose whole transcriptomes are longest; the profile code
that all three share is judged with it. Cells per second are those of `tl.embed`, in turns in one run; ``--models``
times these models and nothing else.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scanpy as sc
from _probing import probed
from _report import report
from _representations import Part
from ablation import antenna
from pretrain_fly import DTYPES, EXCLUDE, MIN_CELLS, WHOLE_EXCLUDE, WHOLE_SETS, add_data_argument
from profile_code import SETS, VALIDATION, tasks

import scflyformer as sf

LENGTHS = (256, 512, 1024)
SHAPE: dict[str, Any] = {
    "hidden_size": 48, "n_layers": 3, "n_heads": 3, "code_size": 40, "n_directions": 40, "learning_rate": 1.5e-3,
}  # fmt: skip
TIMED = ("fly/fca_head", "fly/davie_brain_aging", "fly_whole/hung_midgut_1923")
N_TIMED, N_TURNS = 1000, 5


def trained(data: Path, drawn: Path, work: Path, bert_len: int, epochs: float) -> Path:
    """Return a model whose BERT reads ``bert_len`` genes; the same seed gives all of them the same profile code."""
    out = work / f"length-{bert_len}-{epochs:g}"
    if not (out / "model.safetensors").exists():
        files = [data / "fly" / f"{name}.h5ad" for name in SETS] + [data / f"{name}.h5ad" for name in WHOLE_SETS]
        settings = SHAPE | {"code_epochs": 3, "epochs": epochs, "dropout": 0.0, "warmup_steps": 100}
        with sf.settings.override(device="cpu", dtype=DTYPES["fly-tiny"]):
            sf.tl.pretrain(
                files + sorted(drawn.glob("*.h5ad")), out=out, sample_key="batch", gene_key="FBgn",
                exclude={"batch": EXCLUDE["batch"] + WHOLE_EXCLUDE + VALIDATION}, min_cells=MIN_CELLS["fly-tiny"],
                options=sf.tl.PretrainOptions(bert_len=bert_len, batch_tokens=24576, **settings),
            )  # fmt: skip
    return out


def speed(data: Path, models: dict[str, Path]) -> str:
    """Return a table of embedded cells per second of each model, and the median ratio to the first, turn by turn."""
    lines = ["| cells | genes a cell | " + " | ".join(models) + " |", "| --- " * (2 + len(models)) + "|"]
    for name in TIMED:
        cells = ad.read_h5ad(data / f"{name}.h5ad")
        cells = cells[np.sort(np.random.default_rng(0).choice(cells.n_obs, N_TIMED, replace=False))].copy()
        genes = int(np.median(np.asarray((cells.X != 0).sum(axis=1))))
        seconds = np.empty((N_TURNS, len(models)))
        for turn in range(-1, N_TURNS):
            for column, model in enumerate(models.values()):
                start = time.perf_counter()
                sf.tl.embed(cells, model=model, gene_key="FBgn")
                if turn >= 0:
                    seconds[turn, column] = time.perf_counter() - start
        rate = N_TIMED / np.median(seconds, axis=0)
        ratio = np.median(seconds[:, :1] / seconds, axis=0)
        shown = [f"{each:,.0f} cells/s, {times:.2f}×" for each, times in zip(rate, ratio, strict=True)]
        lines.append(f"| {name.split('/')[1]} | {genes:,} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--drawn", type=Path, help="folder of cells that draw_cells.py wrote")
    parser.add_argument("--epochs", type=float, default=0.5, help="passes of BERT (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("length-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--models", type=Path, nargs="+", help="time these models instead")
    args = parser.parse_args()
    sc.settings.verbosity = 0
    if args.models:
        print(speed(args.data, {model.name: model for model in args.models}))
        return
    if args.drawn is None:
        parser.error("--drawn names the folder of cells that draw_cells.py wrote; it is missing.")
    models = [trained(args.data, args.drawn, args.work, length, args.epochs) for length in LENGTHS]
    width = SHAPE["hidden_size"]
    columns = [
        Part(args.work, model, f"token, BERT reads {length}", slice(0, width))
        for model, length in zip(models, LENGTHS, strict=True)
    ]
    columns.append(Part(args.work, models[0], "profile code", slice(width, sf.models.load(models[0]).embedding_size)))
    asked = [*tasks(args.data), antenna(args.data, "labels"), antenna(args.data, "neighbours")]
    results = [row for task in asked for row in probed(task, columns, args.work, n_boot=args.n_boot)]
    more = speed(args.data, {f"BERT reads {n}": model for n, model in zip(LENGTHS, models, strict=True)})
    report(results, columns[0].name, "Genes that BERT reads", args.out, columns="part", more=more)


if __name__ == "__main__":
    main()
