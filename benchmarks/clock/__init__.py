"""``python -m benchmarks.clock``: how well age can be told."""
