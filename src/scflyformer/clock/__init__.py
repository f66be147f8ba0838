"""Clocks: ages from embeddings and expression, with intervals and held-out samples."""
