"""The embedding service: one model, here, for indexers and applications elsewhere."""
