"""Measures that others made, run as they come from PyPI on what this package makes of fly cells."""
