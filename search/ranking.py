"""Turn what the store measured into a score from 0 to 1 that means the same everywhere, and say how to fuse.

A calibrated model comes with numbers fitted on questions with known answers (``lusifer train calibrate``):
the score is then the probability that a passage answers the question. It looks at how far the passage's
cosine is above those of the question's other neighbours, and at how many of the question's words it holds
beyond what any text of that language would. A model without calibration gets a curve that was set by hand.
Knows numbers and language codes only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from lusifer.config import configuration, parse
from store.fusion import FusionParameters
from store.types import NEAREST

#: Below this a hit of a model without calibration is called weak.
WEAK = 0.25


class Evidence(NamedTuple):
    """What the store says of a passage; see ``store.types.ScoredChunk``."""

    similarity: float
    lexical: float
    coverage: float
    language: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the score must know of a question.

    Attributes:
        language: its ISO 639-1 code.
        confidence: how sure that is, 0 to 1.
        nearest: cosines of the chunks nearest to it, at most ``store.types.NEAREST``.
    """

    language: str
    confidence: float
    nearest: tuple[float, ...] = ()


@configuration
class FusionWeights:
    """How words are weighed against vectors; see ``store.fusion.FusionParameters``.

    Attributes:
        own: weight of words in passages of the question's language.
        other: weight of words in all other passages.
        handicap: by the question's language, what passages in it are lowered by.
    """

    own: float
    other: float
    handicap: dict[str, float]


@configuration
class Logit:
    """Log-odds that a passage is right, linear in what is known of it (``features``)."""

    bias: float
    similarity: float
    contrast: float
    coverage: float
    words: float


@configuration
class ScoreWeights:
    """How evidence becomes a probability.

    Attributes:
        own: for passages in the question's language.
        other: for all other passages.
        chance: by language, the coverage that texts in it which answer nothing reach.
        pairs: added to the log-odds, by question and passage language: ``en-ar``.
        background: mean of the nearest cosines of a common question, for collections of very few passages.
        weak: a hit below this is called weak: most likely it is not about what was asked.
    """

    own: Logit
    other: Logit
    chance: dict[str, float]
    background: float
    weak: float
    pairs: dict[str, float] = field(default_factory=dict)


@configuration
class Calibration:
    """What a model's ``config.json`` says under ``calibration``."""

    fusion: FusionWeights
    score: ScoreWeights

    @classmethod
    def read(cls, data: Mapping[str, Any] | None) -> Self | None:
        """Read a model's calibration; None if it has none.

        Raises:
            ConfigError: a field is unknown, missing or no number; the message names it.
        """
        if data is None:
            return None
        return parse(cls, data, "calibration.")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, numbers at four decimals."""
        rounded: dict[str, Any] = _rounded(asdict(self))
        return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(float(value), 4)


def fusion_for(calibration: Calibration | None, asked: Asked) -> FusionParameters | None:
    """Say how the store is to fuse for a question; None for its own way.

    Where the question's language is not sure, its passages are treated in between its own and any other's.
    """
    if calibration is None:
        return None
    weights, sure = calibration.fusion, asked.confidence
    return FusionParameters(
        lexical_weight=weights.other,
        own_weight=sure * weights.own + (1 - sure) * weights.other,
        own_handicap=sure * weights.handicap.get(asked.language, _typical(weights.handicap)),
        full_coverage=0.0,
    )


def features(similarity: Any, background: Any, coverage: Any, chance: Any, words: Any) -> tuple[Any, ...]:
    """Return what ``Logit`` weighs, in its order; numbers or arrays of one shape.

    Args:
        similarity: cosine of question and passage.
        background: mean of the question's nearest cosines.
        coverage: share of the question's words that the passage holds.
        chance: the share that any text of this language holds; 0 across languages.
        words: the lexical score.
    """
    return 1.0, similarity, similarity - background, coverage - chance, words**0.5


def background(nearest: Sequence[float], typical: float) -> float:
    """Average the nearest cosines, as if a common question's were there where there are too few."""
    known = nearest[:NEAREST]
    return (sum(known) + (NEAREST - len(known)) * typical) / NEAREST


def weak_below(calibration: Calibration | None) -> float:
    """Return the score below which a hit is most likely not about what was asked."""
    return WEAK if calibration is None else calibration.score.weak


def score(hit: Evidence, asked: Asked, calibration: Calibration | None = None) -> float:
    """Score a passage from 0 to 1; never falls when its cosine or its lexical evidence grows."""
    if calibration is None:
        return _uncalibrated(hit)
    use = calibration.score
    around = background(asked.nearest, use.background)
    odds = _log_odds(use.other, hit, around, 0.0)
    if hit.language == asked.language:
        chance = use.chance.get(hit.language, _typical(use.chance))
        own = _log_odds(use.own, hit, around, chance)
        odds = asked.confidence * own + (1 - asked.confidence) * odds
    return _logistic(odds + use.pairs.get(f"{asked.language}-{hit.language}", 0.0))


def _log_odds(weights: Logit, hit: Evidence, around: float, chance: float) -> float:
    known = features(hit.similarity, around, hit.coverage, chance, max(hit.lexical, 0.0))
    factors = (weights.bias, weights.similarity, weights.contrast, weights.coverage, weights.words)
    return float(sum(factor * value for factor, value in zip(factors, known, strict=True)))


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, odds))))


def _typical(table: Mapping[str, float]) -> float:
    """Return the mean over languages, for a language that the table lacks."""
    return sum(table.values()) / len(table) if table else 0.0


def _uncalibrated(hit: Evidence) -> float:
    """Score by curves that suit models whose unrelated texts have cosines near 0.2, set by hand.

    A cosine of 0.5 scores 0.5 by itself; words close up to nine tenths of what is missing to 1, half of that
    at a lexical score of 7.5.
    """
    semantic = _logistic((hit.similarity - 0.50) / 0.15)
    words = max(hit.lexical, 0.0)
    return 1 - (1 - semantic) * (1 - 0.9 * words / (words + 7.5))


def never_rising(scores: Sequence[float], *, page: int) -> list[float]:
    """Level scores so that none is above the one before it.

    The order of the hits is the store's, which weighs the same evidence otherwise; where a hit measures
    better than one above it, both get their mean. Within a page the result is the closest non-rising sequence
    (isotonic regression by pooling neighbours). No page rises above the one before it, and a page does not
    depend on those after it, so paging forth and back shows the same scores.

    Args:
        scores: in the order of the hits, from the first hit on.
        page: how many hits a page has.
    """
    levelled: list[float] = []
    for first in range(0, len(scores), page):
        ceiling = levelled[-1] if levelled else 1.0
        levelled += [min(ceiling, value) for value in _pool(scores[first : first + page])]
    return levelled


def _pool(scores: Sequence[float]) -> list[float]:
    """Closest non-rising sequence in the sense of least squares."""
    blocks: list[tuple[float, int]] = []
    for value in scores:
        total, count = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] < total / count:
            above_total, above_count = blocks.pop()
            total, count = total + above_total, count + above_count
        blocks.append((total, count))
    return [total / count for total, count in blocks for _ in range(count)]
