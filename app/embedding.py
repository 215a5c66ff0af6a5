"""What the application needs of a model.

``lusifer.Embedder`` is one; tests bring a smaller one. Must not import a model library: the command line
imports this module to print its help.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from store.base import Vector


@runtime_checkable
class Embedding(Protocol):
    """Text in, unit vectors out. Results do not depend on what else is in a batch."""

    @property
    def name(self) -> str:
        """What people call the model."""

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    @property
    def max_tokens(self) -> int:
        """Longest text, in the model's tokens; what follows is not seen."""

    @property
    def fingerprint(self) -> str:
        """What makes the vectors; the same for the index and the questions to it."""

    def embed_documents(self, texts: list[str], /) -> Vector:
        """Embed passages or sentences: shape (len(texts), dimensions)."""

    def embed_query(self, texts: str | list[str], /) -> Vector:
        """Embed questions: shape (number of questions, dimensions)."""
