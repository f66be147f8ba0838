"""The models that can be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ._registry import Entry


def list() -> pd.DataFrame:
    """Return the models that can be had; nothing is downloaded.

    Returns
    -------
    One row per model, in the order of the registry and then of the folders of `SCFLYFORMER_MODELS`, with

    - ``name``: what to type;
    - ``description``, ``species``: of the registry, or empty;
    - ``source``: where it would come from: ``"folder"`` (of `SCFLYFORMER_MODELS`), ``"wheel"``, ``"checkout"`` (the
      source tree that the package runs from), ``"cache"``, ``"download"``; or why it would not: ``"unreleased"``,
      ``"missing"``, ``"broken"``;
    - ``path``: the folder, empty where it is not on disk;
    - ``size``: bytes of the folder, or of the archive to download; 0 where unknown;
    - ``sha256``: the model's hash, empty where unknown.

    Raises
    ------
    RegistryError
        When the file of `SCFLYFORMER_REGISTRY` cannot be used. A `ValueError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> models = sf.models.list()
    >>> models[["name", "species"]]
           name                  species
    0  fly-tiny  Drosophila melanogaster
    1       fly  Drosophila melanogaster
    >>> models.columns.tolist()
    ['name', 'description', 'species', 'source', 'path', 'size', 'sha256']
    """
    import pandas as pd

    from ._load import names_in_folders
    from ._registry import Entry, registered

    entries = registered()
    added = [Entry(name) for name in names_in_folders() if name not in entries]
    columns = ("name", "description", "species", "source", "path", "size", "sha256")
    return pd.DataFrame([_table_row(entry) for entry in (*entries.values(), *added)], columns=columns)


def _table_row(entry: Entry) -> tuple[str, str, str, str, str, int, str]:
    from ._errors import ModelFolderError
    from ._fetch import cache_path
    from ._folder import check_folder, model_hash
    from ._load import held_copy, in_folders

    path: Path | None = in_folders(entry.name)
    source = "folder"
    if path is None and entry.bundled:
        path, source = entry.folder, "wheel"
    elif path is None and (found := held_copy(entry)):
        path, source = found
    elif path is None and entry.url:
        path, source = cache_path(entry), "cache"
    size, sha256 = entry.size or 0, entry.model_sha256 or ""
    if path is None or not path.is_dir():
        source = "missing" if entry.bundled else "download" if entry.url else "unreleased"
        return entry.name, entry.description, entry.species, source, "", size, sha256
    try:
        check_folder(path)
        sha256 = model_hash(path)
    except ModelFolderError:
        source, sha256 = "broken", ""
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return entry.name, entry.description, entry.species, source, str(path), size, sha256
