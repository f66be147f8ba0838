"""``python -m scflyformer``: the command line."""

from __future__ import annotations

import sys

from scflyformer._cli import main

if __name__ == "__main__":
    sys.exit(main())
