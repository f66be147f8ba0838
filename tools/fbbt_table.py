"""Make the table of FBbt that the package ships, from the ontology file of cellxgene-ontology-guide.

`pip download --no-deps cellxgene-ontology-guide`, unpack the wheel, then
`python tools/fbbt_table.py FBbt-ontology-v2026-04-03.json src/scflyformer/ontology/fbbt.tsv.gz`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import Counter
from pathlib import Path


def main() -> None:
    """Write a line a term: id, name, number of terms at or below it, parents, synonyms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ontology", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    terms = json.loads(args.ontology.read_text(encoding="utf-8"))
    gone = {name for name, term in terms.items() if term["deprecated"] or term["label"].startswith("obsolete ")}
    terms = {name: term for name, term in terms.items() if name not in gone}
    release = re.search(r"v?(\d{4}-\d{2}-\d{2})", args.ontology.name)
    sizes = Counter(above for name, term in terms.items() for above in {name, *term["ancestors"]} - gone)
    lines = [
        f"# FBbt, the Drosophila anatomy ontology, release {release[1] if release else 'unknown'}; FlyBase, CC BY 4.0",
        "\t".join(["term", "name", "n_below", "parents", "synonyms"]),
    ]
    for name in sorted(terms):
        term = terms[name]
        parents = sorted(above for above, steps in term["ancestors"].items() if steps == 1 and above not in gone)
        synonyms = [word for word in term.get("synonyms") or [] if "|" not in word and "\t" not in word]
        lines.append("\t".join([name, term["label"], str(sizes[name]), "|".join(parents), "|".join(synonyms)]))
    args.out.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
