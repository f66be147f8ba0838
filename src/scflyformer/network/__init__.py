"""BERT and the parts beyond it, and batched inference on any device: tensors and arrays, no AnnData."""
