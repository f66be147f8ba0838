"""``python -m benchmarks.perturbation``: what perturbations in silico are worth."""
