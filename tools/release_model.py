"""Make a model folder of the checkout the released model of its name.

``python -m tools.release_model models/fly --tag fly-1`` writes ``dist/fly-1.zip``, the same bytes wherever it runs, and
enters the model's hash, the archive's hash and size, and its address into the package's registry. The address is that
of the release ``fly-1`` of ``[project.urls] Repository`` in ``pyproject.toml``; upload the archive there. Where no
repository is named, the address stays empty, and the model runs from a checkout alone. For a model of the wheel
(``python -m tools.release_model src/scflyformer/models/fly-tiny``) only its hash is entered.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from scflyformer.models._folder import check_folder, model_hash

ROOT = Path(__file__).parents[1]
REGISTRY = ROOT / "src" / "scflyformer" / "models" / "registry.json"
LIMIT = 25_000_000  # bytes of a model in the repository


def pack(folder: Path, archive: Path) -> None:
    """Zip the files of ``folder`` under its name: sorted, undated and stored, so that no clock or zlib shows in it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(item for item in folder.iterdir() if item.is_file() and not item.name.startswith(".")):
            member = zipfile.ZipInfo(f"{folder.name}/{file.name}")  # dated 1980
            member.create_system, member.external_attr = 3, 0o100644 << 16
            opened.writestr(member, file.read_bytes())


def release(folder: Path, tag: str, *, repository: str | None, registry: Path, out: Path) -> dict[str, Any]:
    """Pack the model unless it is one of the wheel, update its entry in ``registry`` and return that."""
    folder = folder.resolve()
    check_folder(folder)
    entries = json.loads(registry.read_text(encoding="utf-8"))
    if folder.name not in entries:
        raise SystemExit(f"{registry} lists no {folder.name!r}; enter its name, description and species first.")
    entry = entries[folder.name]
    entry["model_sha256"] = model_hash(folder)
    if not entry["bundled"]:
        archive = out / f"{tag}.zip"
        pack(folder, archive)
        entry["size"] = archive.stat().st_size
        if entry["size"] > LIMIT:
            raise SystemExit(f"{archive} has {entry['size']:,} bytes; at most {LIMIT:,}. Save the weights as float16.")
        entry["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
        entry["url"] = f"{repository.rstrip('/')}/releases/download/{tag}/{archive.name}" if repository else None
    registry.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return entry


def main() -> None:
    """Read arguments, release and tell what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the model folder, such as models/fly")
    parser.add_argument("--tag", help="of the release and its archive (default: the model's name and -1)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the archive (default: dist)")
    args = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project.get("urls", {}).get("Repository")
    tag = args.tag or f"{args.folder.resolve().name}-1"
    entry = release(args.folder, tag, repository=repository, registry=REGISTRY, out=args.out)
    print(json.dumps(entry, indent=2))
    if not entry["bundled"]:
        address = entry["url"] or "none: pyproject.toml names no [project.urls] Repository; name it and run this again"
        print(f"archive: {args.out / tag}.zip\naddress to upload it to: {address}")


if __name__ == "__main__":
    main()
