"""Execute the notebooks, two at a time: all of them, or those named.

    python notebooks/execute.py                       # do they run? nothing is changed
    python notebooks/execute.py --save first_look     # write what they print into them, as the documentation shows it

An error in a cell ends with that cell and its traceback, and with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: A thread a kernel, since two run at once; figures as a notebook shows them.
KERNEL = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
}
KERNEL["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
#: The mark of a progress bar among the outputs: no reader needs it.
BAR = "application/vnd.jupyter.widget-view+json"
#: What a notebook keeps beside its cells: the rest names the machine or changes with every run.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path, *, save: bool, timeout: int) -> str | None:
    """Run a notebook in a kernel of its own; return what went wrong, if anything did."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = nbformat.read(path, as_version=4)
    begin = time.perf_counter()
    try:
        NotebookClient(
            notebook,
            timeout=timeout,
            resources={"metadata": {"path": str(path.parent)}},
            kernel_name="python3",
        ).execute()
    except (CellExecutionError, CellTimeoutError) as error:
        return f"{path.name}: {error}"
    print(f"{path.name}: {time.perf_counter() - begin:.0f} s", flush=True)
    if save:
        notebook.metadata = nbformat.from_dict(METADATA)
        for number, cell in enumerate(notebook.cells):
            cell.metadata = nbformat.from_dict(
                {key: cell.metadata[key] for key in cell.metadata.keys() & {"tags"}}
            )
            cell.id = f"{path.stem}-{number}"
            if cell.cell_type == "code":
                cell.outputs = [
                    output
                    for output in cell.outputs
                    if BAR not in output.get("data", {})
                ]
        nbformat.write(notebook, path)
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="notebooks without .ipynb (default: all)"
    )
    parser.add_argument("--save", action="store_true", help="keep what the cells print")
    parser.add_argument(
        "--at-once", type=int, default=2, help="notebooks that run at the same time"
    )
    parser.add_argument(
        "--timeout", type=int, default=1200, help="seconds a cell may take"
    )
    options = parser.parse_args(arguments)
    known = {path.stem: path for path in sorted(HERE.glob("*.ipynb"))}
    if unknown := set(options.names) - known.keys():
        parser.error(
            f"no notebook named {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    os.environ.update(KERNEL)
    with ThreadPoolExecutor(options.at_once) as pool:
        chosen = [known[name] for name in options.names or known]
        wrong = [
            one
            for one in pool.map(
                lambda path: execute(path, save=options.save, timeout=options.timeout),
                chosen,
            )
            if one
        ]
    print("\n\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
