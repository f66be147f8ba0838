"""Refuse a release whose tag, repository and files do not agree on what is released and from where.

python .ci/check_release.py --tag v0.2.0 --repository https://github.com/OWNER/NAME
Without arguments only the files are compared.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def project(root: Path = ROOT) -> dict:
    """Read the table `project` of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def package_version(root: Path = ROOT) -> str:
    """Read the version from the one place where it is written, without importing the package."""
    text = (root / "src/scflyformer/_version.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, flags=re.M)[0]


def version_in(path: Path) -> str | None:
    """Find the line `version:` of a YAML file at its outermost level."""
    found = re.search(r"^version: *[\"']?([^\"'\s]+)", path.read_text(encoding="utf-8"), flags=re.M)
    return found and found[1]


def wrong_files(root: Path = ROOT) -> list[str]:
    """Compare what repeats the version with the package's."""
    version = package_version(root)
    return [
        f"{name} says version {said}, the package {version}. Change {name}."
        for name in ("CITATION.cff", "ecosystem/meta.yaml")
        if (said := version_in(root / name)) not in (version, None)
    ]


def wrong_release(tag: str, repository: str, root: Path = ROOT) -> list[str]:
    """Compare tag and repository of a release with the package, and ask for a section of the changelog."""
    version, source = package_version(root), project(root)["urls"]["Source"]
    wrong = []
    if tag != f"v{version}":
        wrong.append(f"The tag is {tag}, the package's version {version}: expected the tag v{version}.")
    if repository.rstrip("/").lower() != source.lower():
        wrong.append(
            f"This repository is {repository}, [project.urls] in pyproject.toml says {source}. Only that one "
            "publishes; if the project has moved, change pyproject.toml and what repeats it."
        )
    if not re.search(rf"^## \[{re.escape(version)}\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M):
        wrong.append(f"CHANGELOG.md has no section [{version}]: rename [Unreleased], with the date.")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Print what does not agree; 0 where all does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tag", help="the release's tag")
    parser.add_argument("--repository", help="the address of the repository that releases")
    given = parser.parse_args(arguments)
    if (given.tag is None) != (given.repository is None):
        parser.error("--tag and --repository belong together: got one of them.")
    wrong = wrong_files() + (wrong_release(given.tag, given.repository) if given.tag is not None else [])
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
