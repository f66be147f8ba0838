"""The representations compared, each computed once and kept in a folder: ``blocks(data, fit)`` gives its features."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

import scflyformer as sf

from .processes import output_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scflyformer.models import Model

    from .data import Data, Fit


class Representation:
    """What all have in common: a name (the column), a key that changes when the features would, a folder."""

    name: str
    key: str

    def __init__(self, work: Path) -> None:
        self.folder = work / "representations"
        self.folder.mkdir(parents=True, exist_ok=True)

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return feature matrices of the used cells by name."""
        raise NotImplementedError

    def _kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        file = self.folder / f"{name}-{self.key}.npy"
        if not file.exists():
            partial = file.with_suffix(".partial.npy")
            np.save(partial, make())
            partial.replace(file)
        return np.load(file)


class Frozen(Representation):
    """The embedding of a model folder, as `tl.embed` gives it."""

    def __init__(self, work: Path, model: str | Path, name: str | None = None, *, dtype: str = "auto") -> None:
        super().__init__(work)
        self.dtype = dtype
        self.model: Model = sf.models.load(model)
        self.name = name or self.model.name
        self.key = self.model.sha256[:12] + ("" if dtype == "auto" else f"-{dtype}")

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return the embedding."""

        def embed() -> np.ndarray:
            cells = data.adata[data.used].copy()
            with sf.settings.override(dtype=self.dtype):
                sf.tl.embed(cells, model=self.model.path, gene_key="FBgn")
            return cells.obsm["X_scflyformer"]

        return {"embedding": self._kept(f"{data.name}-{data.key}", embed)}


class Part(Representation):
    """Some columns of the embedding of a model."""

    def __init__(self, work: Path, model: str | Path, name: str, columns: slice) -> None:
        super().__init__(work)
        self.whole, self.name, self.columns = Frozen(work, model), name, columns
        self.key = f"{self.whole.key}-{columns.start}-{columns.stop}"

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return the columns."""
        return {"part": self.whole.blocks(data, fit)["embedding"][:, self.columns]}


def random_weights(work: Path, like: Model, *, dtype: str = "auto", seed: int = 0) -> Frozen:
    """Return the embedding of a network of the same configuration as ``like`` that was never trained."""
    import torch

    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert

    path = work / f"random-{like.sha256[:12]}-{seed}"
    if not path.exists():
        torch.manual_seed(seed)
        network = CellBert(like.network().config)
        save_folder(path, network, like.vocabulary, metrics={}, provenance={"seed": seed}, card="# Random weights\n")
    return Frozen(work, path, "random weights", dtype=dtype)


class Expression(Representation):
    """log1p of counts per 10,000 of every gene of the file."""

    name, key = "expression", "1"

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return expression."""
        return {"expression": data.expression[data.used]}


class Pca(Representation):
    """Principal components of expression, fitted on the task's training cells."""

    def __init__(self, work: Path, n: int = 64) -> None:
        super().__init__(work)
        self.n, self.name, self.key = n, f"PCA-{n}", str(n)

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return the components."""

        def components() -> np.ndarray:
            from sklearn.decomposition import PCA

            dense = data.expression[fit.cells].toarray()
            solver = "covariance_eigh" if dense.shape[1] < dense.shape[0] else "full"
            pca = PCA(min(self.n, min(dense.shape) - 1), svd_solver=solver).fit(dense)
            parts = np.array_split(data.used, max(len(data.used) // 4096, 1))
            found = [pca.transform(data.expression[part].toarray()) for part in parts]
            return np.concatenate(found).astype(np.float32)

        return {"pca": self._kept(f"pca-{data.name}-{data.key}-{fit.name}", components)}


class Scvi(Representation):
    """scVI's latent space, trained without labels on the task's training cells in an environment of its own."""

    def __init__(self, work: Path, n_latent: int = 10, *, library: bool = False, joint: bool = False,
                 python: str | None = None, max_epochs: int | None = None) -> None:  # fmt: skip
        super().__init__(work)
        self.n_latent, self.library, self.joint, self.python = n_latent, library, joint, python
        self.name = f"{'JointEmbeddingSCVI' if joint else 'scVI'}-{n_latent}" + (" by library" if library else "")
        self.max_epochs = max_epochs
        self.key = f"{n_latent}{'-library' * library}{'-joint' * joint}{f'-{max_epochs}' if max_epochs else ''}"

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return the means of the latent variables."""

        def latent() -> np.ndarray:
            if self.python is None:
                raise FileNotFoundError(
                    f"{self.name} is not there yet for {data.name} ({fit.name}); pass --scvi-python, the Python of an "
                    "environment with scvi-tools, or leave scvi out of --baselines."
                )
            counts = sparse.csr_matrix(data.adata.X, dtype=np.float32)
            with tempfile.TemporaryDirectory() as scratch:
                cells, out = Path(scratch, "cells.npz"), Path(scratch, "latent.npy")
                arrays = {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr}
                np.savez(
                    cells, **arrays, shape=counts.shape, train=fit.cells, used=data.used,
                    library=data.adata.obs["batch"].to_numpy(dtype=str),
                )  # fmt: skip
                command = [self.python, "-m", "benchmarks.pretraining.scvi_latent", str(cells), str(out)]
                command += ["--n-latent", str(self.n_latent)]
                command += ["--by-library"] * self.library + ["--joint"] * self.joint
                command += ["--max-epochs", str(self.max_epochs)] if self.max_epochs else []
                said = output_of(command)
                (self.folder / f"scvi-{data.name}-{data.key}-{fit.name}-{self.key}.json").write_text(
                    json.dumps(json.loads(said.splitlines()[-1]), indent=1)
                )
                return np.load(out)

        return {"scvi": self._kept(f"scvi-{data.name}-{data.key}-{fit.name}", latent)}


class Joined(Representation):
    """Two representations side by side."""

    def __init__(self, *parts: Representation) -> None:
        self.parts = parts
        self.name = " + ".join(part.name for part in parts)
        self.key = "+".join(part.key for part in parts)

    def blocks(self, data: Data, fit: Fit) -> dict[str, Any]:
        """Return the blocks of all parts."""
        return {name: block for part in self.parts for name, block in part.blocks(data, fit).items()}
