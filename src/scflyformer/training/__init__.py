"""Corpus, objective and trainer."""
