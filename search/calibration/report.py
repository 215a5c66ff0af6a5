"""Say how a calibrated search does: pools by vectors, by words and by both, and what scores mean."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lusifer.evaluate.retrieval import ndcg_at, recall_at
from search.calibration.fit import Hits, first_hits, join, probability
from search.calibration.pools import Pool
from search.calibration.weights import bias, fused, positions
from search.ranking import Calibration

_METRICS = ("recall@1", "recall@10", "ndcg@10")
_WAYS = ("dense", "lexical", "fused")
_BINS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_KINDS = {"one": "one language each", "mixed": "all languages", "sentences": "parallel sentences"}


def measure(pools: Sequence[Pool], calibration: Calibration) -> dict[str, Any]:
    """Measure rankings and scores.

    Returns:
        ``pairs``: {"en-ar": {way: {metric: value}}} for pools of one language; ``same`` and ``cross``, their
        means; ``mixed``: the same by question language, with ``bias``; ``scores``: see ``_scores``.
    """
    pairs = {}
    mixed: dict[str, Any] = {}
    for pool in pools:
        if pool.kind == "one":
            answered = str(pool.language[0, 0])
            pairs[f"{pool.asked}-{answered}"] = _ways(pool, calibration)
        elif pool.kind == "mixed":
            mixed[pool.asked] = {
                **_ways(pool, calibration),
                "bias": {way: bias(pool, scores) for way, scores in _all_scores(pool, calibration).items()},
            }
    same = [value for pair, value in pairs.items() if _is_same(pair)]
    cross = [value for pair, value in pairs.items() if not _is_same(pair)]
    return {
        "pairs": pairs,
        "same": _mean(same),
        "cross": _mean(cross),
        "all": _mean([*same, *cross]),
        "mixed": mixed,
        "mixed_mean": _mean(list(mixed.values())),
        "scores": _scores(pools, calibration),
    }


def _is_same(pair: str) -> bool:
    asked, _, answered = pair.partition("-")
    return asked == answered


def _all_scores(pool: Pool, calibration: Calibration) -> dict[str, Any]:
    return {
        "dense": pool.similarity,
        "lexical": np.where(np.isfinite(pool.similarity), pool.words, -np.inf),
        "fused": fused(pool, calibration.fusion),
    }


def _ways(pool: Pool, calibration: Calibration) -> dict[str, dict[str, float]]:
    measured = {}
    for way, scores in _all_scores(pool, calibration).items():
        places = positions(scores, pool.right)
        values = (recall_at(places, 1), recall_at(places, 10), ndcg_at(places, 10))
        measured[way] = dict(zip(_METRICS, values, strict=True))
    return measured


def _mean(rows: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    if not rows:
        return {}
    return {
        name: {metric: float(np.mean([row[name][metric] for row in rows])) for metric in group}
        for name, group in rows[0].items()
    }


def _scores(pools: Sequence[Pool], calibration: Calibration) -> dict[str, Any]:
    """Measure what scores mean.

    Returns:
        by kind of pool: ``bins``, rows of [from, to, first hits, mean score, share right];
        ``weak_right``, the share of right first hits called weak; ``weak_answered`` and ``weak_unanswered``,
        the share of questions without a good match where there is an answer and where it was taken out.
    """
    result: dict[str, Any] = {"weak_below": calibration.score.weak}
    for kind in dict.fromkeys(pool.kind for pool in pools):
        chosen = [pool for pool in pools if pool.kind == kind]
        answered = join([first_hits(pool, calibration.fusion, most=1) for pool in chosen])
        without = join([first_hits(pool.unanswered(), calibration.fusion, most=1) for pool in chosen])
        likely = probability(answered, calibration.score)
        weak = likely < calibration.score.weak
        result[kind] = {
            "bins": _bins(answered, likely),
            "weak_right": float(weak[answered.right].mean()) if answered.right.any() else 0.0,
            "weak_answered": float(weak.mean()),
            "weak_unanswered": share_weak(without, calibration),
        }
    return result


def share_weak(hits: Hits, calibration: Calibration) -> float:
    """Return the share of hits that score as weak."""
    return float((probability(hits, calibration.score) < calibration.score.weak).mean())


def _bins(hits: Hits, likely: Any) -> list[list[float]]:
    rows = []
    for low, high in itertools.pairwise(_BINS):
        chosen = (likely >= low) & ((likely < high) | (high == 1.0))
        if chosen.any():
            means = float(likely[chosen].mean()), float(hits.right[chosen].mean())
            rows.append([low, high, int(chosen.sum()), *means])
    return rows


def to_markdown(result: dict[str, Any]) -> str:
    """Return the tables of one measurement."""
    parts = ["| pools | metric | dense | lexical | fused |", "| --- | --- | ---: | ---: | ---: |"]
    for name, label in (("same", "one language"), ("cross", "two languages"), ("mixed_mean", "all mixed")):
        parts += [
            _row(label, metric, result[name]) for metric in (*_METRICS, "bias") if _has(result[name], metric)
        ]
    parts += [_row(pair, "recall@10", result["pairs"][pair]) for pair in sorted(result["pairs"])]
    for code in sorted(result["mixed"]):
        parts += [_row(f"{code}, mixed", metric, result["mixed"][code]) for metric in ("recall@10", "bias")]
    scores = result["scores"]
    parts += [
        "",
        f"Hits below {scores['weak_below']:.2f} are weak; if the first of all is, nothing good was found.",
        "",
        "| pools | questions | nothing good found | of right first hits |",
        "| --- | --- | ---: | ---: |",
    ]
    for kind in (kind for kind in _KINDS if kind in scores):
        row = scores[kind]
        parts.append(
            f"| {_KINDS[kind]} | as they are | {row['weak_answered']:.2f} | {row['weak_right']:.2f} |"
        )
        parts.append(f"| | their answers taken out | {row['weak_unanswered']:.2f} | |")
    parts += ["", "| pools | score | first hits | mean score | right |", "| --- | --- | ---: | ---: | ---: |"]
    for kind in (kind for kind in _KINDS if kind in scores):
        for low, high, count, likely, right in scores[kind]["bins"]:
            parts.append(
                f"| {_KINDS[kind]} | {low:.1f} to {high:.1f} | {count} | {likely:.2f} | {right:.2f} |"
            )
    return "\n".join(parts) + "\n"


def _has(values: dict[str, Any], metric: str) -> bool:
    return (metric == "bias" and "bias" in values) or metric in values.get("fused", {})


def _row(label: str, metric: str, values: dict[str, Any]) -> str:
    numbers = [values["bias"][way] if metric == "bias" else values[way][metric] for way in _WAYS]
    name = "language bias" if metric == "bias" else metric
    return f"| {label} | {name} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |"
