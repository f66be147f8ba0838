"""Gene identifiers, vocabulary and coverage: arrays and tables, no AnnData."""
