"""Cell types: classifiers on embeddings and expression, their calibration, and cells unlike any class."""
