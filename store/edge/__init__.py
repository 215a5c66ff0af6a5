"""The embedded engine, Qdrant Edge, and its files."""
