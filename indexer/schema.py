"""What a collection is made with: the one place that puts its fingerprint together.

The indexer makes the collection and the application opens it with the same function, so that vectors of
different origin never meet.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from indexer.chunk import CHUNKER_VERSION
from store.base import Schema


class Fingerprinted(Protocol):
    """What a model has to say about its vectors."""

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""

    @property
    def fingerprint(self) -> str:
        """What makes the vectors."""


def collection_schema(embedder: Fingerprinted) -> Schema:
    """Return the schema of collections of this model's vectors, with this chunker and analyser."""
    from store.analyser import ANALYSER_VERSION

    parts = (embedder.fingerprint, CHUNKER_VERSION, ANALYSER_VERSION, embedder.dimensions)
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return Schema(dimensions=embedder.dimensions, fingerprint=digest[:16])
