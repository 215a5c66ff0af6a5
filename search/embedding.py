"""What the application needs of a model.

``lusifer.Embedder`` is one; tests bring a smaller one. Must not import a model library: the command line
imports this module to print its help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from store.types import Vector

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from lusifer.config import ModelConfig


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

    @property
    def config(self) -> ModelConfig:
        """What the model is made of."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens, without truncation."""

    def embed_documents(self, texts: list[str], instruction: str = "") -> Vector:
        """Embed passages or sentences: shape (len(texts), dimensions)."""

    def embed_query(self, texts: str | list[str], instruction: str = "") -> Vector:
        """Embed questions: shape (number of questions, dimensions)."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Count each text's tokens, before any cut and without the prompt around it."""
