"""The network and batched inference."""
