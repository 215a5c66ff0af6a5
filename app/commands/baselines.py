"""What ``lusifer evaluate`` can measure besides models: the search's own BM25."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.evaluate.systems import SCORERS

if TYPE_CHECKING:
    from lusifer.evaluate.retrieval import Scorer


def offer_baselines() -> None:
    """Let the evaluation open them by name; nothing is imported before it does."""
    SCORERS["bm25"] = _bm25


def _bm25() -> Scorer:
    from app.tuning.lexical import Bm25

    return Bm25()
