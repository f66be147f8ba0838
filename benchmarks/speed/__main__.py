"""Speed and memory beside what most people would write: one table, with the machine named.

``python -m benchmarks.speed`` runs ``tokenize``, ``embed``, ``annotate``, ``perturb`` and ``pretrain``, each beside a
reference in the same process and in turns, and ``growth``, the package alone on more and more cells, columns and
tokens. Four more are run where they are named: ``screen`` compares the first-order screen with exact deletions;
``scan`` has time and memory of a scan of all genes with more and more groups and genes; ``profile`` shows where the
time of `tl.embed` goes, and what the processor's measured rates would allow; ``geneformer --geneformer PATH`` runs
beside a checkout of Geneformer. ``--quick`` gives a look in two minutes, not figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..lib.command import command, new_parser
from ..lib.processes import THREAD_VARIABLES

if TYPE_CHECKING:
    from .settings import Settings

PARTS = ("tokenize", "embed", "annotate", "perturb", "pretrain", "growth")
FURTHER = ("screen", "scan", "profile", "geneformer")
"""Parts that are run where they are asked for by name."""


def read_arguments() -> argparse.Namespace:
    """Return the arguments."""
    parser = new_parser(__doc__)
    choices = [*PARTS, *FURTHER]
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"of {', '.join(choices)} (default: {', '.join(PARTS)})"
    )
    parser.add_argument("--repeats", type=int, help="turns (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="of torch and numpy (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where networks run (default: %(default)s)")
    parser.add_argument("--cells", type=int, help="cells that embed takes, 0 for all of the file (default: 2000)")
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    parser.add_argument("--set", default="davie_brain_aging", help="cells, of the folder fly (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few cells and two turns")
    parser.add_argument("--geneformer", type=Path, metavar="PATH", help="a checkout of Geneformer, for that part")
    parser.add_argument(
        "--geneformer-python",
        default=sys.executable,
        metavar="PYTHON",
        help="of an environment that has what the checkout requires (default: this one)",
    )
    parser.add_argument(
        "--geneformer-model",
        type=Path,
        metavar="FOLDER",
        help="of a BertForMaskedLM, such as a checkpoint (default: a network of the size of ours)",
    )
    parser.add_argument("--out", type=Path, help="folder to write the tables to")
    args = parser.parse_args()
    unknown = sorted(set(args.parts) - set(choices))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; expected {', '.join(choices)}")
    if "geneformer" in args.parts and args.geneformer is None:
        parser.error("the part geneformer takes the folder of a checkout; name it by --geneformer PATH")
    args.parts = args.parts or list(PARTS)
    args.repeats = args.repeats or (2 if args.quick else 5)
    args.cells = (24 if args.quick else 2000) if args.cells is None else args.cells
    return args


def run(args: argparse.Namespace, settings: Settings) -> None:
    """Run the parts; print and write."""
    from . import geneformer
    from .annotate import Annotate
    from .embed import Embed, EmbedMean
    from .geneformer_part import opened
    from .geneformer_process import GeneformerError
    from .growth import growths
    from .machine import machine
    from .perturb import Perturb, Screen
    from .pretrain import Pretrain
    from .profile import profile
    from .runner import by_turn, compare, comparison_table, grow, growth_table, say
    from .scan import scans
    from .tokenize import Tokenize

    kinds = {
        "tokenize": [Tokenize], "embed": [Embed, EmbedMean], "annotate": [Annotate], "perturb": [Perturb],
        "screen": [Screen], "pretrain": [Pretrain],
        "geneformer": [geneformer.Tokenize, geneformer.Embed, geneformer.Delete],
    }  # fmt: skip
    growing = {"growth": growths, "scan": scans}
    found, grown, profiles = [], [], []
    if "geneformer" in args.parts:
        opened(settings)  # so that an error comes before hours of other parts
    for name in args.parts:
        say(name)
        for kind in kinds.get(name, []):
            try:
                found += compare(name, kind, settings, args.repeats)
            except GeneformerError as error:
                profiles.append(f"Not measured: {kind.__name__.lower()} beside Geneformer. {error}")
        if name in growing:
            for part, axis, makes in growing[name](settings):
                grown += grow(part, axis, makes, settings, args.repeats)
        if name == "profile":
            profiles.append(profile(settings, args.repeats))
    text = [f"`{command()}`", machine(settings.threads, settings.device)]
    text += [comparison_table(found)] if found else []
    text += [growth_table(grown)] if grown else []
    said = "\n\n".join([*text, *profiles])
    print(said)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "speed.md").write_text(f"{said}\n")
        for lines, columns, name in (
            (found, ["ours", "reference", "ratio"], "speed.tsv"),
            (grown, ["cells_per_second"], "growth.tsv"),
        ):
            if lines:
                by_turn(lines, columns).to_csv(args.out / name, sep="\t", index=False, float_format="%.5g")


def main() -> None:
    """Read arguments, fix threads before numpy and torch load, run."""
    args = read_arguments()
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(args.threads)
    from .geneformer_part import close
    from .geneformer_process import Checkout, GeneformerError
    from .settings import Settings

    checkout = args.geneformer and Checkout(args.geneformer, args.geneformer_python, args.geneformer_model)
    with tempfile.TemporaryDirectory() as work:
        settings = Settings(
            args.data, Path(work), args.model, args.cells, args.threads, args.device, args.quick, args.set,
            geneformer=checkout,
        )  # fmt: skip
        try:
            run(args, settings)
        except GeneformerError as error:
            sys.exit(f"error: {error}")
        finally:
            close()


if __name__ == "__main__":
    main()
