"""What the benchmarks share: data and splits, representations, kept results, intervals and reports."""
