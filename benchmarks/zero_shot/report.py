"""Show the experiment's rows: tables in Markdown, the same numbers for a JSON file.

Must not know how they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lusifer.train.mini.corpus import PIVOT

_COLUMNS = (
    "SIB-200: others and English",
    "weakest",
    "others among themselves",
    "topics of others",
    "MLQA: English",
    "others, own language",
    "English and others",
    "others among themselves",
)


def summarise(row: dict[str, Any]) -> list[float]:
    """Return a row's figures, in the order of the table's columns.

    Of parallel sentences: accuracy of finding the translation (mean of both directions with English, the
    weakest language's, mean over all pairs without English), accuracy of topics learnt from English vectors.
    Of questions: nDCG@10 where question and paragraph are English, both in one other language, one of them
    English, and in two other languages.
    """
    sentences, pairs = row["sentences"], row["questions"]["pairs"]
    among = [
        value
        for first, others in sentences["accuracy"].items()
        for second, value in others.items()
        if PIVOT not in (first, second)
    ]
    topics = list(sentences.get("topics", {}).values())
    return [
        sentences["mean"],
        sentences["minimum"],
        _mean(among),
        _mean(topics),
        _ndcg(pairs, lambda asked, answered: asked == answered == PIVOT),
        _ndcg(pairs, lambda asked, answered: asked == answered != PIVOT),
        _ndcg(pairs, lambda asked, answered: (asked == PIVOT) != (answered == PIVOT)),
        _ndcg(pairs, lambda asked, answered: PIVOT not in (asked, answered) and asked != answered),
    ]


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return two tables: the summary, and each language's sentences against English."""
    lines = [
        f"| | {' | '.join(_COLUMNS)} |",
        f"| --- |{' ---: |' * len(_COLUMNS)}",
        *(f"| {row['name']} | {_cells(summarise(row))} |" for row in rows),
    ]
    codes = list(rows[0]["sentences"]["against_english"]) if rows else []
    lines += [
        "",
        f"| SIB-200, with English | {' | '.join(codes)} |",
        f"| --- |{' ---: |' * len(codes)}",
        *(
            f"| {row['name']} | {_cells([row['sentences']['against_english'][code] for code in codes])} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(values: Sequence[float]) -> str:
    return " | ".join("–" if np.isnan(value) else f"{value:.3f}" for value in values)


def _ndcg(pairs: dict[str, dict[str, float]], wanted: Callable[[str, str], bool]) -> float:
    return _mean([scores["ndcg@10"] for pair, scores in pairs.items() if wanted(*pair.split("-"))])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
