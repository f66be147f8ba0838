"""Have a model on disk: its zip archive is fetched with pooch and unpacked into the cache."""

from __future__ import annotations

import logging
import stat
import zipfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from scflyformer import _log
from scflyformer._settings import settings

from ._errors import ModelFetchError, ModelFolderError, ModelNameError
from ._folder import check_folder, model_hash
from ._registry import SHIPPED_MODEL
from ._save import staging_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._registry import Entry

RETRIES = 2
_TIMEOUT = (10, 30)  # seconds to connect, seconds without a byte


def fetch(name: str) -> Path:
    """Have a model on disk: download it unless it is there, and check it.

    Parameters
    ----------
    name
        A name of :func:`scflyformer.models.list`, looked up in the folders of `SCFLYFORMER_MODELS`, then in the
        package, then in the source tree that the package runs from, then at its address. What is downloaded is kept
        in the cache (`SCFLYFORMER_CACHE`).

    Returns
    -------
    The model folder.

    Raises
    ------
    ModelNameError
        For a name of no model or of an unreleased one. A `ValueError`.
    ModelFolderError
        When what is on disk is not a whole model folder. A `ValueError`.
    ModelFetchError
        For a model that could not be fetched, with the way to fetch it by hand. A `RuntimeError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> folder = sf.models.fetch("fly-tiny")
    >>> sorted(file.name for file in folder.glob("*.json"))
    ['config.json', 'metrics.json', 'provenance.json']
    """
    from ._load import is_path, load

    if is_path(name):
        raise ModelNameError(f"{name!r} is a path; expected a name of scflyformer.models.list(). Open it with load.")
    return load(name).path


def cache_path(entry: Entry) -> Path:
    """Return where the model is kept once fetched; the archive's hash in the name keeps versions apart."""
    return settings.cache_folder / f"{entry.name}-{str(entry.sha256)[:12]}"


def retrieve(entry: Entry) -> Path:
    """Return the cached model folder of ``entry``, downloaded and unpacked if it is not there yet.

    Nothing is left behind by a failure, so that a later call starts anew.
    """
    target = cache_path(entry)
    if target.is_dir():
        try:
            check_folder(target)
            return target
        except ModelFolderError as error:
            _log.warning(f"The cached model {entry.name!r} is damaged and is fetched again. ({error})")
    try:
        with staging_folder(target.parent, target.name) as staged:
            archive = _archive_by_hand(entry) or _download(entry, staged.parent)
            _move_to_cache(_unpack(entry, archive, staged), target, aside=staged.parent / "replaced")
    except OSError as error:
        raise ModelFetchError(
            f"The model {entry.name!r} could not be written to the cache {settings.cache_folder} ({error}). "
            f"Make room there or name another folder by SCFLYFORMER_CACHE."
        ) from error
    _log.info(f"model {entry.name!r} is now in {target}")
    return target


class _Downloader:
    """Pooch's HTTP download with our progress bar; remembers what the last attempt brought, for the message."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.got_hash: str | None = None
        self.got_size = 0

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        from pooch import HTTPDownloader, file_hash

        self.got_hash = None
        total = self.entry.size or 1  # pooch sets the right one
        bar = _log.progress(total=total, desc=f"fetching {self.entry.name}", unit="B", unit_scale=True)
        try:
            HTTPDownloader(progressbar=bar, timeout=_TIMEOUT)(url, output_file, pooch)
        finally:
            bar.close()
        self.got_hash, self.got_size = file_hash(output_file), Path(output_file).stat().st_size


def _archive_path(entry: Entry) -> Path:
    return settings.cache_folder / f"{cache_path(entry).name}.zip"


def _archive_by_hand(entry: Entry) -> Path | None:
    """Return the archive that someone put into the cache by hand, as the error for offline machines advises."""
    from pooch import file_hash

    archive = _archive_path(entry)
    if not archive.is_file():
        return None
    got = file_hash(archive)
    if got == entry.sha256:
        return archive
    _log.warning(f"{archive} has sha256 {got}, expected {entry.sha256}; it is not used, and the model is fetched.")
    return None


def _download(entry: Entry, folder: Path) -> Path:
    """Return the archive, put into ``folder`` and its hash checked."""
    import pooch
    from requests.exceptions import HTTPError, RequestException

    downloader = _Downloader(entry)
    source = pooch.create(
        path=folder,
        base_url="",
        registry={"model.zip": f"sha256:{entry.sha256}"},
        urls={"model.zip": entry.url},
        retry_if_failed=RETRIES,
    )
    try:
        with _quiet_pooch():
            return Path(source.fetch("model.zip", downloader=downloader))
    except HTTPError as error:
        missing = error.response is not None and error.response.status_code == 404
        reason = "the release is not out yet, or was withdrawn" if missing else "the server refused"
        raise ModelFetchError(_advice(entry, f"{reason} ({error})")) from error
    except RequestException as error:
        reason = f"the connection failed or broke off ({type(error).__name__}: {error})"
        raise ModelFetchError(_advice(entry, reason)) from error
    except ValueError as error:
        if downloader.got_hash is None:
            raise
        if entry.size and downloader.got_size < entry.size:
            reason = f"only {downloader.got_size:,} of {entry.size:,} bytes came"
            raise ModelFetchError(_advice(entry, reason)) from error
        raise ModelFetchError(
            f"The file at {entry.url} is not the model {entry.name!r}: its sha256 is {downloader.got_hash}, expected "
            f"{entry.sha256}. It was removed. Try again later; if it stays so, the file was changed or the registry "
            f"is out of date."
        ) from error


def _advice(entry: Entry, why: str) -> str:
    copy = _archive_path(entry)
    return (
        f"The model {entry.name!r} could not be fetched from {entry.url} after {RETRIES + 1} attempts: {why}. "
        f"Without it, use model={SHIPPED_MODEL!r}, which ships with the package. Or fetch that address elsewhere "
        f"(sha256 {entry.sha256}); then either copy the file to {copy} or unpack it and copy the model folder to "
        f"<folder>/{entry.name}, with <folder> named by SCFLYFORMER_MODELS (in a clone of the repository, look into "
        f"its folder models)."
    )


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Silence pooch's own messages, which would bypass scanpy's verbosity."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unpack(entry: Entry, archive: Path, staged: Path) -> Path:
    """Unpack into ``staged``; return the model folder in it, checked."""
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_members(opened)
            opened.extractall(staged)
        folder = _model_root(staged)
        check_folder(folder)
    except (zipfile.BadZipFile, ModelFolderError, RuntimeError, NotImplementedError) as error:
        raise ModelFetchError(
            f"The file at {entry.url} has the registered hash but is no zip archive of a model folder: {error}"
        ) from error
    got = model_hash(folder)
    if entry.model_sha256 not in (None, got):
        raise ModelFetchError(
            f"The file at {entry.url} holds a model with hash {got}; the registry says {entry.model_sha256}. "
            f"Correct the registry."
        )
    return folder


def _move_to_cache(folder: Path, target: Path, *, aside: Path) -> None:
    """Rename the checked ``folder`` to ``target``, unless another process has brought the model meanwhile."""
    try:
        check_folder(target)
    except ModelFolderError:
        if target.exists():  # damaged
            target.rename(aside)
        try:
            folder.rename(target)
        except OSError:  # another process came between the look and the step
            check_folder(target)


def _check_members(archive: zipfile.ZipFile) -> None:
    """Refuse members that would land outside the folder, and links."""
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        outside = path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in "".join(path.parts[:1])
        if outside or stat.S_ISLNK(member.external_attr >> 16):
            raise zipfile.BadZipFile(f"member {member.filename!r} leads out of the folder")


def _model_root(folder: Path) -> Path:
    """Return the model folder in an unpacked archive: the top, or the one folder in it."""
    if (folder / "config.json").is_file():
        return folder
    inside = [item for item in sorted(folder.iterdir()) if (item / "config.json").is_file()]
    if len(inside) != 1:
        raise ModelFolderError(f"it holds {len(inside)} folders with a config.json; expected one.")
    return inside[0]
