"""Pretraining and fine-tuning: corpus, objective, loop."""
