"""Fuse what the vectors and the words say of each candidate into one order.

Pure: no engine, no chunks, no text. Lexical evidence never gates and never punishes: a candidate without a
shared word keeps what its vector earned it, and a candidate only rises by the words it shares. Across
languages shared words are mostly noise, so they weigh less than the vector, and a list whose best hit covers
only a small part of the question counts for less.

What "a part of the question" means: ``ideal`` is the score of a chunk of average length that holds every term
of the question once, the terms nobody has ever written included. A question in another language than the
chunks therefore covers little, and one shared name or "the" cannot outvote the vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Whatever names a candidate; it decides between equal scores.
Id = TypeVar("Id", str, int)

#: Scores are compared at this many decimals, so that engines which differ in the last bits agree on ties.
DECIMALS = 5


@dataclass(frozen=True, slots=True)
class FusionParameters:
    """How two kinds of evidence become one score.

    Attributes:
        lexical_weight: weight of the lexical half; the dense half weighs 1.
        own_weight: the same for candidates in the question's own language; None for no difference.
        own_handicap: what the score of those is lowered by, in units of the cosine.
        full_coverage: share of the question the best lexical hit must cover for the lexical half to count
            in full; below it, it is damped in proportion. 0 switches damping off.
    """

    lexical_weight: float = 0.5
    own_weight: float | None = None
    own_handicap: float = 0.0
    full_coverage: float = 1.0


DEFAULT_PARAMETERS = FusionParameters()


class Fused(NamedTuple, Generic[Id]):
    """A candidate after fusion. ``score`` is at most 1; ``lexical`` is the engine's raw BM25 score.

    ``coverage`` is the share of the question that the lexical score is worth, 0 to 1.
    """

    id: Id
    score: float
    similarity: float
    lexical: float
    coverage: float


def fuse(
    ids: Sequence[Id],
    similarities: ArrayLike,
    lexical: ArrayLike,
    ideal: float,
    parameters: FusionParameters = DEFAULT_PARAMETERS,
    *,
    own: ArrayLike = False,
) -> list[Fused[Id]]:
    """Order candidates by both kinds of evidence.

    Args:
        ids: the candidates of both halves, each once.
        similarities: cosine of question and candidate, shape (n,).
        lexical: lexical score of each candidate, 0 where no word is shared, shape (n,).
        ideal: lexical score of a chunk that holds the whole question; 0 if the question has no words.
        parameters: the weights.
        own: whether each candidate is in the question's language, shape (n,), or one answer for all.

    Returns:
        all candidates, best first; equal scores in order of id. Scores are the weighted mean of cosine and
        coverage, less the handicap, so they are at most 1.
    """
    cosines: NDArray[np.float64] = np.asarray(similarities, np.float64).round(DECIMALS)
    words: NDArray[np.float64] = np.asarray(lexical, np.float64).round(DECIMALS)
    covered = coverage(words, ideal).round(DECIMALS)
    same = np.broadcast_to(np.asarray(own, np.bool_), cosines.shape)
    weights, largest = _weights(same, parameters)
    trust = weights * damp(words, ideal, parameters.full_coverage)
    scores = cosines + trust * covered - parameters.own_handicap * same
    scores = np.round(scores / (1 + largest), DECIMALS)
    columns = (scores.tolist(), cosines.tolist(), words.tolist(), covered.tolist())
    fused = [Fused(*row) for row in zip(ids, *columns, strict=True)]
    return sorted(fused, key=lambda one: (-one.score, one.id))


def _weights(own: NDArray[np.bool_], parameters: FusionParameters) -> tuple[NDArray[np.float64], float]:
    """Weigh the words of each candidate; also the larger of both weights, whoever is among the candidates."""
    other = parameters.lexical_weight
    same = other if parameters.own_weight is None else parameters.own_weight
    return np.where(own, same, other), max(same, other)


def coverage(lexical: ArrayLike, ideal: float) -> NDArray[np.float64]:
    """Say how much of the question each lexical score covers, 0 to 1."""
    scores = np.asarray(lexical, np.float64)
    if ideal <= 0:
        return np.zeros_like(scores)
    return np.asarray(np.clip(scores, 0.0, ideal) / ideal, np.float64)


def damp(lexical: ArrayLike, ideal: float, full_coverage: float) -> float:
    """Say how far to trust the lexical half, 0 to 1, by the coverage of its best hit."""
    best = float(coverage(lexical, ideal).max(initial=0.0))
    return 1.0 if full_coverage <= 0 else min(1.0, best / full_coverage)


def group(
    fused: Sequence[Fused[Id]], documents: Mapping[Id, str], chunks: int
) -> list[tuple[str, list[Fused[Id]]]]:
    """Group candidates by document, keeping the best ``chunks`` of each; documents in order of their best.

    Args:
        fused: what ``fuse`` returns.
        documents: id of the document by id of the chunk; candidates it does not name are left out.
        chunks: how many chunks of a document to keep.
    """
    groups: dict[str, list[Fused[Id]]] = {}
    for one in fused:
        document = documents.get(one.id)
        if document is not None:
            kept = groups.setdefault(document, [])
            if len(kept) < chunks:
                kept.append(one)
    return list(groups.items())
