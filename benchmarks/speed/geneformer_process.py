"""A checkout of Geneformer in a process of its own, which stays open, so that its imports are not timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..lib.processes import environment

WORKER = "benchmarks.speed.geneformer_worker"
INSTALL = (
    "Install the checkout and what it requires in an environment of its own (pip install PATH), and name that "
    "environment's Python by --geneformer-python."
)


class GeneformerError(RuntimeError):
    """Geneformer could not be started, or one of its functions failed."""


@dataclass(frozen=True)
class Checkout:
    """Where Geneformer is: its folder, the Python of an environment that has what it requires, and its model.

    ``model`` is a folder as `BertForMaskedLM` opens it; `None` stands for a network of the size of ours.
    """

    path: Path
    python: str = sys.executable
    model: Path | None = None

    def check(self) -> None:
        """Refuse a folder that is no checkout, and a model folder without a network."""
        if not (self.path / "geneformer" / "__init__.py").is_file():
            raise GeneformerError(
                f"{self.path} holds no geneformer/__init__.py; expected a checkout of Geneformer. Get one by "
                "git clone https://huggingface.co/ctheodoris/Geneformer, and name its folder by --geneformer."
            )
        if self.model is not None and not (self.model / "config.json").is_file():
            raise GeneformerError(
                f"{self.model} holds no config.json; expected a folder of a BertForMaskedLM. Name one by "
                "--geneformer-model, or leave it out for a network of the size of ours."
            )


class Geneformer:
    """The process: `ask` runs one of the worker's functions; ``versions`` are those of the libraries it runs on."""

    def __init__(self, checkout: Checkout, log: Path, *, threads: int, device: str) -> None:
        checkout.check()
        self.log, self.threads = log, threads
        variables = environment(threads)
        variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], str(checkout.path.resolve())])
        if device == "cpu":
            variables["CUDA_VISIBLE_DEVICES"] = ""
        try:
            with log.open("w") as errors:
                self.process = subprocess.Popen(
                    [checkout.python, "-m", WORKER], env=variables, text=True, stderr=errors, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )  # fmt: skip
        except OSError as error:
            raise GeneformerError(f"{checkout.python} does not start ({error}). {INSTALL}") from error
        try:
            ready = self._reply()
        except GeneformerError as error:
            self.close()
            said = f"geneformer of {checkout.path} cannot be imported: {error} {INSTALL}\n{self._end(3)}"
            raise GeneformerError(said) from None
        if not Path(ready["ready"]).is_relative_to(checkout.path.resolve()):
            self.close()
            raise GeneformerError(
                f"{checkout.python} imports geneformer from {ready['ready']}; expected it from {checkout.path}. "
                "Uninstall the other one there, or name its checkout."
            )
        self.versions: str = ready["versions"]

    def ask(self, way: str, out: Path, **job: Any) -> dict[str, Any]:
        """Run ``way``, which writes to the new folder ``out``; return seconds, memory in MB and what else it gives."""
        texts = {key: str(each) if isinstance(each, Path) else each for key, each in job.items()}
        request = json.dumps({"way": way, "out": str(out), "nproc": self.threads, **texts})
        assert self.process.stdin is not None
        try:
            print(request, file=self.process.stdin, flush=True)
            return self._reply()
        except (OSError, GeneformerError) as error:
            said = f"Geneformer's {way} failed: {error}\nThe last that it printed:\n{self._end()}"
            raise GeneformerError(said) from None

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
        except OSError:  # it has ended, with a request unread
            pass
        self.process.wait()
        self.process.stdout.close()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise GeneformerError("its process has ended.")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            hint = " The call is written for copies from mid-2025 on." if reply["error"].startswith("TypeError") else ""
            raise GeneformerError(f"{reply['error']}.{hint}")
        return reply

    def _end(self, n: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-n:])
