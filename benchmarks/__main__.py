"""Speed and memory beside what most people would write: one table, with the machine named.

``python -m benchmarks`` runs ``tokenize``, ``embed``, ``annotate``, ``perturb`` and ``pretrain``, each beside a
reference in the same process and in turns, and ``growth``, the package alone on more and more cells, columns and
tokens. ``python -m benchmarks profile`` instead tells where the time of `tl.embed` goes, and what the processor's
measured rates would allow. ``--quick`` gives a look in two minutes, not figures.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

FOLDER = Path(__file__).resolve().parent
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))  # scripts of this folder import one another by name

if TYPE_CHECKING:
    from _speed_settings import Settings

PARTS = ("tokenize", "embed", "annotate", "perturb", "pretrain", "growth")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def read_arguments() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    choices = [*PARTS, "profile"]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(choices)} (default: all but profile)")
    parser.add_argument("--repeats", type=int, help="turns (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="of torch and numpy (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where networks run (default: %(default)s)")
    parser.add_argument("--cells", type=int, help="cells that embed takes, 0 for all of the file (default: 2000)")
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    default = os.environ.get("SCFLYFORMER_DATA", "../shared/data")
    parser.add_argument("--data", default=default, help="folder of real data (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few cells and two turns")
    parser.add_argument("--out", type=Path, help="folder to write the tables to")
    args = parser.parse_args()
    unknown = sorted(set(args.parts) - set(choices))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; expected {', '.join(choices)}")
    args.parts = args.parts or list(PARTS)
    args.repeats = args.repeats or (2 if args.quick else 5)
    args.cells = (24 if args.quick else 2000) if args.cells is None else args.cells
    return args


def run(args: argparse.Namespace, settings: Settings) -> None:
    """Run the parts; print and write."""
    import _speed_table as table
    from _speed_list import KINDS
    from _speed_machine import machine
    from _speed_runner import compare, grow, say

    found, grown, profiles = [], [], []
    for name in args.parts:
        say(name)
        if name == "profile":
            from _speed_profile import profile

            profiles.append(profile(settings, args.repeats))
        for kind in KINDS.get(name, ()):
            if name == "growth":
                grown += grow(kind, args.repeats)
            else:
                found += compare(name, kind, args.repeats)
    text = [f"`python -m benchmarks {shlex.join(sys.argv[1:])}`", machine(settings.threads, settings.device)]
    text += [table.markdown(found)] if found else []
    text += [table.growth_markdown(grown)] if grown else []
    said = "\n\n".join([*text, *profiles])
    print(said)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "speed.md").write_text(f"{said}\n")
        for lines, name in ((table.frame(found), "speed.tsv"), (table.growth_frame(grown), "growth.tsv")):
            if len(lines):
                lines.to_csv(args.out / name, sep="\t", index=False, float_format="%.5g")


def main() -> None:
    """Read arguments, fix threads before numpy and torch load, run."""
    args = read_arguments()
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(args.threads)
    from _speed_settings import Settings

    with tempfile.TemporaryDirectory() as work:
        settings = Settings(args.data, args.model, args.cells, args.threads, args.device, args.quick, work)
        settings.use()
        run(args, settings)


if __name__ == "__main__":
    main()
