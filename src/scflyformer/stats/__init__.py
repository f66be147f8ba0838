"""Splits, baselines, nulls, intervals and calibration: arrays in, arrays out."""
