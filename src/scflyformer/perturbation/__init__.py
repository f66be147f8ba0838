"""In silico perturbation: edited cells, null genes, and what is read off."""
