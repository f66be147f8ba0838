"""A model, as every function of the package sees it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ._errors import ModelFolderError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.network._network import CellBert


@dataclass(frozen=True, eq=False)
class Model:
    """An opened model folder; the weights load with the first call of :meth:`network`.

    Attributes
    ----------
    name
        Registry name, or the folder's name.
    path
        The folder, absolute.
    sha256
        Hash of the weights, the configuration and the vocabulary; equals
        ``sha256sum config.json model.safetensors vocab.tsv | sha256sum`` typed inside the folder.
    vocabulary
        The genes the model knows, in the order of their tokens: arrays ``gene_ids``, ``symbols``, ``medians`` (of
        non-zero counts per 10,000 in the corpus), ``n_cells`` (that express the gene) and ``synonyms``.
    config
        Content of ``config.json``.
    metrics
        Content of ``metrics.json``: held-out results.
    provenance
        Content of ``provenance.json``: data, seeds, versions, hardware, date.
    reads_code
        Whether embeddings are the profile code alone, for which BERT does not run.

    Examples
    --------
    >>> import scflyformer as sf
    >>> model = sf.models.load("fly-tiny")
    >>> model
    Model(name='fly-tiny', path=...Path('...fly-tiny'), sha256='...')
    >>> model.max_len, model.hidden_size, model.embedding_size
    (2048, 36, 180)
    >>> symbols = model.vocabulary.symbols
    >>> len(symbols), "Hsp68" in symbols
    (4003, True)
    >>> [source["name"] for source in model.provenance["data"]][:4]
    ['fca_head', 'fca_body', 'baker_brain', 'davie_brain_aging']
    """

    name: str
    path: Path
    sha256: str
    vocabulary: Vocabulary = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    reads_code: bool = field(default=False, repr=False)

    @property
    def pooling(self) -> Literal["cell", "mean", "code"]:
        """Pooling of an embedding unless another is asked for, as in :func:`scflyformer.tl.embed`."""
        if self.reads_code:
            return "code"
        return "cell" if self.has_cell_token else "mean"

    @property
    def has_cell_token(self) -> bool:
        """Whether a cell token stands in front of the genes (``objective="cell"``)."""
        return self.config.get("objective", "mlm") == "cell"

    @property
    def max_len(self) -> int:
        """Gene tokens a cell may have."""
        return int(self.config.get("max_len") or self.bert_len)

    @property
    def bert_len(self) -> int:
        """Gene tokens of a cell that BERT reads, the highest ranked."""
        return int(self.config["max_position_embeddings"]) - self.has_cell_token

    @property
    def hidden_size(self) -> int:
        """Width of a token, and so of an embedding with ``pooling="mean"``."""
        return int(self.config["hidden_size"])

    @property
    def embedding_size(self) -> int:
        """Width of an embedding as :func:`scflyformer.tl.embed` makes it by default."""
        parts = self.parts(self.pooling)
        return max(last for _, last in parts.values()) + 1

    def parts(self, pooling: str = "cell") -> dict[str, list[int]]:
        """Return the first and last column of each part of an embedding.

        Parameters
        ----------
        pooling
            As for :func:`scflyformer.tl.embed`: ``"cell"``, ``"code"`` or ``"mean"``.

        Returns
        -------
        ``token``, but for ``"code"``; unless it is ``"mean"``, of the profile code ``directions`` and ``contrast``, and
        for a model that :func:`scflyformer.tl.adapt` made ``adapted``, its further directions.

        Examples
        --------
        >>> import scflyformer as sf
        >>> sf.models.load("fly-tiny").parts()
        {'token': [0, 35], 'directions': [36, 147], 'contrast': [148, 179]}
        """
        code, adapted = int(self.config.get("code_size", 0)), int(self.config.get("n_adapted", 0))
        widths = {} if pooling == "code" else {"token": self.hidden_size}
        if pooling != "mean" and code:
            directions = int(self.config["n_directions"]) - adapted
            widths |= {"directions": directions, "adapted": adapted, "contrast": code}
        parts, start = {}, 0
        for name, width in widths.items():
            if width:
                parts[name] = [start, start + width - 1]
                start += width
        return parts

    def network(self) -> CellBert:
        """Return the network, in float32 and in evaluation mode; later calls return the same object.

        It is loaded to the CPU; embedding leaves it on the device it ran on. Whoever trains it trains a copy
        (`copy.deepcopy`), since others hold the same object.

        Returns
        -------
        A `transformers` model: a BERT over gene tokens, with the parts beyond BERT that the configuration names.

        Raises
        ------
        ModelFolderError
            When the weights do not fit the configuration.

        Examples
        --------
        >>> import scflyformer as sf
        >>> network = sf.models.load("fly-tiny").network()
        >>> network.config.num_hidden_layers, network.training
        (3, False)
        """
        return self._network

    @cached_property
    def _network(self) -> CellBert:
        import torch

        from scflyformer.network._network import CellBert

        advice = "Fetch or copy the folder again; if it was trained by other code, train it with tl.pretrain."
        with quiet_transformers():
            try:
                loaded: Any = CellBert.from_pretrained(
                    self.path,
                    dtype=torch.float32,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
            except (RuntimeError, ValueError, TypeError, OSError, KeyError) as error:
                raise ModelFolderError(f"The weights in {self.path} do not load: {error} {advice}") from error
        network, info = loaded
        absent = sorted(info["missing_keys"])
        if absent:  # transformers would fill them with random numbers
            shown = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
            raise ModelFolderError(
                f"{self.path / 'model.safetensors'} lacks {len(absent)} of the tensors that config.json calls for "
                f"({shown}). {advice}"
            )
        return network.eval()

    def with_network(self, network: CellBert) -> Model:
        """Return this model with other weights; its hash says that they are not those of the folder.

        Parameters
        ----------
        network
            The weights to run with, such as a trained copy of what :meth:`network` returned.

        Returns
        -------
        A new model; this one and its folder stay as they are.

        Examples
        --------
        >>> import copy
        >>> import scflyformer as sf
        >>> model = sf.models.load("fly-tiny")
        >>> changed = model.with_network(copy.deepcopy(model.network()))
        >>> changed.sha256 == model.sha256 + "-changed"
        True
        """
        changed = replace(self, sha256=f"{self.sha256}-changed")
        changed.__dict__["_network"] = network.eval()
        return changed

    def tensors(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the tensors of ``model.safetensors`` whose names start with ``prefix``, named without it.

        Parameters
        ----------
        prefix
            Such as ``"classifier."``; ``""`` for all.

        Returns
        -------
        Name without the prefix to array; empty where no name starts with it. The network is not loaded for this.

        Examples
        --------
        >>> import scflyformer as sf
        >>> model = sf.models.load("fly-tiny")
        >>> tensors = model.tensors("bert.embeddings.")
        >>> tensors["word_embeddings.weight"].shape[1]
        36
        """
        from safetensors import safe_open

        with safe_open(self.path / "model.safetensors", framework="numpy") as file:
            return {name.removeprefix(prefix): file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and reports off the user's screen; what matters is checked here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
