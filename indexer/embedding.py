"""What the indexer needs of a model.

``lusifer.Embedder`` is one; tests bring a smaller one. Must not import a model library: a run without changes
loads none.
"""

from __future__ import annotations

from typing import Protocol

from store.base import Vector


class Embedder(Protocol):
    """Passages in, unit vectors out."""

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    @property
    def fingerprint(self) -> str:
        """What makes the vectors."""

    @property
    def max_tokens(self) -> int:
        """Longest text the model sees, in its tokens."""

    def embed_documents(self, texts: list[str]) -> Vector:
        """Embed passages: float32, shape (len(texts), dimensions), unit rows."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Count each text's tokens, special ones left out."""
