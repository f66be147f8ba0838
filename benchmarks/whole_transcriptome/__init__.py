"""``python -m benchmarks.whole_transcriptome``: embeddings beside what is computed from the cells at hand."""
