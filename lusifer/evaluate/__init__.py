"""Measuring: retrieval checks that need no network. Nothing here is needed to search."""
