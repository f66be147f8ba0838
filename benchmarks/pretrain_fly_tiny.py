"""Pretrain fly-tiny, the model in the wheel: the four large fly sets without labels, less every evaluation library.

``python benchmarks/pretrain_fly_tiny.py --out fly-tiny`` takes about an hour on one CPU core; the same command
goes on with an interrupted run.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import scflyformer as sf

EXCLUDE = {
    "batch": [
        "FCA4_Male_Adult_Head1",
        "FCA13_Female_head_adult",
        "FCA16_Male_body_adult",
        "FCA25_Female_body_adult",
        "suffix_7",
    ],
    "genotype": ["DGRP-551"],
}
VALIDATION = ["FCA11_Male_head_adult", "FCA20_Male_body_adult", "w1118_3d_r1"]
SETS = ("fca_head", "fca_body", "baker_brain", "davie_brain_aging")


def pretrain(folder: Path, out: Path, *, epochs: float) -> None:
    """Pretrain on the training libraries of the four sets in ``folder``."""
    sf.tl.pretrain(
        [folder / "fly" / f"{name}.h5ad" for name in SETS],
        out=out,
        exclude=EXCLUDE,
        sample_key="batch",
        validation=VALIDATION,
        gene_key="FBgn",
        synonyms=folder / "tables" / "symbol_to_fbgn_merged.tsv",
        hidden_size=96,
        n_layers=4,
        n_heads=4,
        feed_forward=192,
        max_len=1024,
        dropout=0.0,
        epochs=epochs,
        batch_tokens=8192,
        learning_rate=1.5e-3,
        warmup_steps=300,
        weights="float16",
        device="cpu",
    )


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``, the folder that holds ``fly/*.h5ad`` and ``tables/``."""
    default = Path(os.environ.get("SCFLYFORMER_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of real data (default: %(default)s)")


def main() -> None:
    """Read arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="model folder to make")
    parser.add_argument("--epochs", type=float, default=1.6, help="passes over the cells (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads; torch decides where not given")
    args = parser.parse_args()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    pretrain(args.data, args.out, epochs=args.epochs)


if __name__ == "__main__":
    main()
