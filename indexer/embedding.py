"""What the indexer needs of a model.

``lusifer.Embedder`` is one; tests bring a smaller one. Must not import a model library: a run without changes
loads none.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
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


def stamp_model(model: str | None) -> str:
    """Return a sign that changes when the model's files do, without reading them.

    A run compares it with the last one's: only if it differs is the model loaded to compare fingerprints.
    """
    folder = Path(model) if model else _shipped_model()
    name = model or "shipped"
    if not folder.is_dir():
        return name
    files = sorted(path for path in folder.iterdir() if path.is_file())
    marks = [f"{path.name}:{(status := path.stat()).st_size}:{status.st_mtime_ns}" for path in files]
    return "\n".join((str(folder.resolve()), *marks))


def _shipped_model() -> Path:
    spec = importlib.util.find_spec("lusifer")
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations or ("lusifer",)))) / "mini"
