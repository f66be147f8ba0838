"""Make the table of fly gene names that the package ships, from FlyBase's file of annotation ids.

`python tools/flybase_names.py fbgn_annotation_ID_fb_2025_03.tsv.gz src/scflyformer/genes/flybase_names.tsv.gz`; that is
one of FlyBase's precomputed files, in `genes/`.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import defaultdict
from pathlib import Path


def main() -> None:
    """Write a line a name: symbols, annotation ids and former ids of *D. melanogaster*, each with the gene's id.

    A current name goes before a former one. Names of two genes are left out.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flybase", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    current, former = defaultdict(set), defaultdict(set)
    for line in gzip.decompress(args.flybase.read_bytes()).decode().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        symbol, organism, gene, old_ids, annotation, old_annotations = line.split("\t")
        if organism == "Dmel":
            for name in (gene, symbol, annotation):
                current[name].add(gene)
            for name in (*old_ids.split(","), *old_annotations.split(",")):
                former[name].add(gene)
    genes = {name: next(iter(ids)) for name, ids in (former | current).items() if name and len(ids) == 1}
    release = re.search(r"fb_(\d{4}_\d{2})", args.flybase.name)
    lines = [
        f"# Names of genes in FlyBase, release FB{release[1] if release else ' unknown'}; FlyBase, CC BY 4.0",
        "name\tgene_id",
        *sorted(f"{name}\t{gene}" for name, gene in genes.items() if name != gene),
    ]
    args.out.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
