"""``python -m benchmarks.pretraining``: what embeddings are worth; ``….pretraining.ablation``: parts of them."""
