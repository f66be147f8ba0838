"""``python -m benchmarks.annotation``: which method labels cells best."""
