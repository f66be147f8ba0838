"""The speed suite as asv finds it: ``asv run --config benchmarks/asv.conf.json -E existing``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts of that folder import one another by name
