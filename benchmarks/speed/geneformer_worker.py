"""Runs Geneformer's own functions on request; for the environment that a checkout of it is installed in.

`geneformer_process` starts it as ``python -m benchmarks.speed.geneformer_worker`` with the checkout on ``PYTHONPATH``.
A request is a line of JSON on stdin, a reply a line on stdout: seconds and peak memory of the call alone, or an error.
What the functions print goes to stderr. Geneformer is called as its users call it; it needs nothing of scflyformer.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.lib.processes import peak_mb, start_peak

CELL, STATE, START, GOAL = "cell", "state", "start", "goal"
"""Columns of `obs` that go through its files, and the two states of a deletion."""


def tokenize(geneformer: Any, job: dict[str, Any]) -> None:
    """Rank the cells of a folder of h5ad files into ``out/cells.dataset``."""
    tokenizer = geneformer.TranscriptomeTokenizer(
        {CELL: CELL, STATE: STATE}, nproc=job["nproc"], model_input_size=job["max_len"], special_token=False,
        gene_median_file=job["medians"], token_dictionary_file=job["tokens"], gene_mapping_file=job["mapping"],
    )  # fmt: skip
    tokenizer.tokenize_data(job["cells"], job["out"], "cells", file_format="h5ad")


def embed(geneformer: Any, job: dict[str, Any]) -> None:
    """Write the mean over genes of the second-to-last layer to ``out/cells.csv``, cells named in a column."""
    extractor = geneformer.EmbExtractor(
        model_type="Pretrained", num_classes=0, emb_mode="cell", max_ncells=None, emb_layer=-1, emb_label=[CELL],
        forward_batch_size=job["batch"], nproc=job["nproc"], token_dictionary_file=job["tokens"],
    )  # fmt: skip
    extractor.extract_embs(job["model"], job["dataset"], job["out"], "cells")


def delete(geneformer: Any, job: dict[str, Any]) -> None:
    """Delete each gene of each cell; shifts towards ``goal`` are written as pickles to ``out``."""
    import torch

    goal = torch.tensor(job["goal"])
    perturber = geneformer.InSilicoPerturber(
        perturb_type="delete", genes_to_perturb="all", model_type="Pretrained", num_classes=0, emb_mode="cell",
        cell_states_to_model={"state_key": STATE, "start_state": START, "goal_state": GOAL, "alt_states": []},
        state_embs_dict={START: goal, GOAL: goal}, max_ncells=None, emb_layer=-1, forward_batch_size=job["batch"],
        nproc=job["nproc"], token_dictionary_file=job["tokens"],
    )  # fmt: skip
    perturber.perturb_data(job["model"], job["dataset"], job["out"], "cells")


def shifts(out: str) -> dict[str, list[float]]:
    """Return what `delete` wrote: the shifts of each token towards the goal, over cells."""
    found: dict[str, list[float]] = {}
    for path in sorted(Path(out).glob("*.pickle")):
        with path.open("rb") as file:
            table = pickle.load(file)  # written a moment ago by the call
        for (token, _), values in table.get(GOAL, {}).items():
            found.setdefault(str(token), []).extend(float(value) for value in values)
    return found


WAYS = {"tokenize": tokenize, "embed": embed, "delete": delete}


def stay_on_cpu() -> None:
    """Keep tensors on the processor, and make them there, where its functions ask for CUDA by name.

    Only its own modules see another ``torch.tensor``: transformers tells from the real one where networks are made.
    """
    import torch

    def here(given: Any) -> Any:
        return "cpu" if isinstance(given, (str, torch.device)) and str(given).startswith("cuda") else given

    def on_cpu(call: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            return call(*map(here, args), **{key: here(given) for key, given in kwargs.items()})

        return called

    torch.Tensor.to = on_cpu(torch.Tensor.to)  # type: ignore[method-assign]
    seen = ModuleType("torch")
    seen.__dict__.update(torch.__dict__, tensor=on_cpu(torch.tensor))
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "geneformer" and vars(module).get("torch") is torch:
            vars(module)["torch"] = seen


def answer(geneformer: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to a request."""
    Path(job["out"]).mkdir(parents=True)
    before = start_peak()
    begin = time.perf_counter()
    WAYS[job["way"]](geneformer, job)
    seconds = time.perf_counter() - begin
    reply = {"seconds": seconds, "memory_mb": peak_mb() - before}
    return reply | {"shifts": shifts(job["out"])} if job["way"] == "delete" else reply


def last_line(error: BaseException) -> str:
    """Return an error in a line, after writing all of it to stderr. Some of its functions raise without a message."""
    traceback.print_exc()
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def main() -> None:
    """Import, say so, and answer until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(reply: dict[str, Any]) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        import geneformer
        import torch
        import transformers  # noqa: F401

        if "datasets" in sys.modules:  # or a repeated call would read what the first has left on disk
            sys.modules["datasets"].disable_caching()
        if not torch.cuda.is_available():
            stay_on_cpu()
    except Exception as error:  # whatever an import raises
        send({"error": last_line(error)})
        return
    loaded = (sys.modules[name] for name in ("torch", "transformers", "datasets") if name in sys.modules)
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in loaded)
    send({"ready": str(geneformer.__file__), "versions": versions})
    for line in sys.stdin:
        try:
            send(answer(geneformer, json.loads(line)))
        except Exception as error:  # its functions raise many kinds
            send({"error": last_line(error)})


if __name__ == "__main__":
    main()
