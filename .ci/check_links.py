"""Check every internal link of a built site: the file is there, and so is the heading or name behind the #.

python .ci/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes that name another file, by tag.
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "iframe": "src"}
#: Pages without a content of their own.
MADE = {"search.html", "genindex.html", "py-modindex.html"}


class Page(HTMLParser):
    """The links of a page and the names that others can link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag links to and what it is called."""
        values = dict(attrs)
        if target := values.get(LINKS.get(tag, "")):
            self.links.add(target)
        self.names |= {value for key in ("id", "name") if (value := values.get(key))}


@cache
def read(path: Path) -> Page:
    """Read a page once."""
    return Page(path.read_text(encoding="utf-8"))


def broken(site: Path, path: Path) -> list[str]:
    """Return the links of a page that lead nowhere within the site."""
    wrong = []
    for link in sorted(read(path).links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue  # elsewhere, or data
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.is_relative_to(site.resolve()) or not target.is_file():
            wrong.append(f"{path.relative_to(site)}: {link}: no such file")
        elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).names:
            wrong.append(f"{path.relative_to(site)}: {link}: no such place in {target.name}")
    return wrong


def main(folder: str) -> int:
    """Print what is broken; 0 where nothing is."""
    site = Path(folder).resolve()
    pages = [path for path in sorted(site.rglob("*.html")) if path.name not in MADE and "_static" not in path.parts]
    if not pages:
        print(f"{folder} holds no pages: build them with `make docs` first.", file=sys.stderr)
        return 1
    wrong = [line for path in pages for line in broken(site, path)]
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    print(f"{len(pages)} pages, {sum(len(read(path).links) for path in pages)} links, {len(wrong)} broken")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
