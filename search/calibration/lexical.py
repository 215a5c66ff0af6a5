"""The search's lexical half over passages in memory: the analyser's terms, BM25's weights, every score.

Computes what the engines compute, for measuring. Must not know vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from store.lexical.analyser import ANALYSER_VERSION, document_vector, query_vector


class LexicalIndex:
    """Passages by their terms.

    Args:
        passages: the texts.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self._count = len(passages)
        vectors = [document_vector([passage]) for passage in passages]
        rows = np.repeat(np.arange(len(vectors)), [len(indices) for indices, _ in vectors])
        terms = np.concatenate([indices for indices, _ in vectors]) if vectors else np.empty(0, np.uint32)
        weights = np.concatenate([weight for _, weight in vectors]) if vectors else np.empty(0, np.float32)
        order = np.argsort(terms, kind="stable")
        self._rows, self._weights = rows[order], weights[order]
        known, starts = np.unique(terms[order], return_index=True)
        ends = np.append(starts[1:], len(order))
        spans = zip(known.tolist(), starts.tolist(), ends.tolist(), strict=True)
        self._spans = {term: slice(start, end) for term, start, end in spans}

    def score(self, questions: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Score every passage for every question.

        Returns:
            scores, shape (questions, passages), and each question's ideal score (``store.fusion``).
        """
        scores = np.zeros((len(questions), self._count), np.float32)
        ideal = np.zeros(len(questions))
        for number, question in enumerate(questions):
            for term, importance in zip(*(part.tolist() for part in query_vector(question)), strict=True):
                span = self._spans.get(term, slice(0, 0))
                found = self._rows[span]
                rarity = np.log(1 + (self._count - len(found) + 0.5) / (len(found) + 0.5))
                ideal[number] += importance * rarity
                scores[number, found] += (importance * rarity * self._weights[span]).astype(np.float32)
        return scores, ideal


class Bm25:
    """The lexical half as a system of its own, for ``lusifer evaluate retrieval --model bm25``."""

    @property
    def fingerprint(self) -> str:
        """What makes its scores."""
        return f"analyser {ANALYSER_VERSION}"

    def index(self, passages: Sequence[str]) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        """Return a function that scores these passages, shape (questions, passages)."""
        index = LexicalIndex(passages)
        return lambda questions: index.score(questions)[0]
