"""``python -m benchmarks.atlas``: time and memory of a file of an atlas's size, which ``….atlas.make`` makes."""
