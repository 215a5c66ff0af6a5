"""Open what is to be measured, by name: our models, sentence-transformers folders, and whatever else scores.

Imports nothing heavy until a system is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lusifer.evaluate.retrieval import Encoder, Scorer


@dataclass(frozen=True, slots=True)
class System:
    """Something that finds passages.

    Attributes:
        name: what tables call it.
        fingerprint: what makes its scores.
        retriever: how it is asked.
    """

    name: str
    fingerprint: str
    retriever: Encoder | Scorer


def open_system(name: str | None, scorers: Mapping[str, Callable[[], Scorer]]) -> System:
    """Open a system: one of the scorers, a sentence-transformers folder, or what ``Embedder.load`` takes.

    Args:
        name: what to open; None for the shipped model.
        scorers: systems that score without vectors and need more than this package, by name.

    Raises:
        LusiferError: there is no such system, or it cannot be read.
    """
    if name is not None and name in scorers:
        scorer = scorers[name]()
        return System(name, scorer.fingerprint, scorer)
    if name is not None and (Path(name) / "modules.json").is_file():
        from lusifer.evaluate.sentence_transformers import SentenceTransformer

        model = SentenceTransformer(Path(name))
        return System(model.name, model.fingerprint, model)
    from lusifer.embedder import Embedder

    embedder = Embedder.load(name)
    return System(embedder.name, embedder.fingerprint, embedder)
