"""One command for each figure that is quoted: ``python -m benchmarks.SUBJECT``, run in the root of the repository."""
