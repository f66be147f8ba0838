"""Ranked tokens, their edits and batches: arrays in, arrays out."""
