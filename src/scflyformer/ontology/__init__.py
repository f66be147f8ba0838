"""Cell types as terms of the Drosophila anatomy ontology FBbt: names, ancestors, labels, roll-up. No AnnData here."""
