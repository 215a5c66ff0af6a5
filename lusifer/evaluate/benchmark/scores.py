"""From subset scores to the paper's two tables, with its own figures to stand beside the measured ones.

Scores out of 100, but for those in an outcome, which are mteb's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lusifer.evaluate.benchmark.catalogue import Catalogue

Cells = dict[str, dict[str, float]]

_PUBLISHED = Path(__file__).parent / "data" / "published.json"


@dataclass(slots=True)
class Outcome:
    """What came of one task.

    Attributes:
        task: its name.
        scores: main score by subset, from 0 to 1 (correlations from -1).
        unfetched: subsets whose data could not be loaded, with the reason.
        failed: subsets that could not be measured, with the reason.
    """

    task: str
    scores: dict[str, float] = field(default_factory=dict)
    unfetched: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """The first thing that went wrong, or nothing."""
        return next(iter((self.unfetched | self.failed).values()), "")


@dataclass(frozen=True, slots=True)
class Published:
    """Scores out of 100, as printed.

    Attributes:
        source: the publication and its tables.
        languages: column heads of ``per_language``, before the average.
        per_language: model to its row of Table 1, the average last.
        datasets: column heads of ``crosslingual``, before the average.
        crosslingual: model to its row of Table 2, the average last.
        per_dataset: model, then language, then task, to a cell of Tables 6-19.
    """

    source: str
    languages: list[str]
    per_language: dict[str, list[float]]
    datasets: list[str]
    crosslingual: dict[str, list[float]]
    per_dataset: dict[str, dict[str, dict[str, float]]]


def read_published() -> Published:
    """Return the paper's figures."""
    return Published(**json.loads(_PUBLISHED.read_text(encoding="utf-8")))


def summarise(catalogue: Catalogue, outcomes: Iterable[Outcome], published: Published) -> dict[str, Any]:
    """Return all figures of a run.

    Returns:
        ``per_dataset``: {language: {task: score}}. ``per_language``: {language: {score, measured, of}}, the
        mean over counted tasks, and how many of how many there are. ``average``: the mean of those, with the
        number of languages. ``same_tasks``: for each model of the paper with known cells, what
        ``per_language`` would say of it on just the tasks measured here. ``crosslingual``: {column: {score,
        measured, of}}, the mean over languages. ``unfetched`` and ``failed``: {task: reason}.
    """
    outcomes = list(outcomes)
    by_task = {outcome.task: outcome for outcome in outcomes}
    cells = _cells(catalogue, by_task)
    per_language = {code: _language(catalogue, code, cells[code]) for code in catalogue.languages}
    return {
        "per_dataset": cells,
        "per_language": per_language,
        "average": mean_of_known(per_language),
        "same_tasks": {
            model: _same_tasks(catalogue, cells, theirs) for model, theirs in published.per_dataset.items()
        },
        "crosslingual": {
            title: _average(_mean_of(groups, by_task[column.task]) for groups in column.subsets.values())
            for title, column in catalogue.crosslingual.items()
        },
        "unfetched": {o.task: next(iter(o.unfetched.values())) for o in outcomes if o.unfetched},
        "failed": {o.task: next(iter(o.failed.values())) for o in outcomes if o.failed},
    }


def mean_of_known(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of the rows that have a score, and how many of how many they are."""
    return _average(row["score"] for row in rows.values())


def _cells(catalogue: Catalogue, outcomes: Mapping[str, Outcome]) -> Cells:
    cells: Cells = {}
    for code in catalogue.languages:
        scores = {t.name: _mean_of(t.subsets[code], outcomes[t.name]) for t in catalogue.tasks_of(code)}
        cells[code] = {name: score for name, score in scores.items() if score is not None}
    return cells


def _mean_of(subsets: tuple[str, ...], outcome: Outcome) -> float | None:
    """Return the mean score of subsets out of 100; None unless all of them were measured."""
    if any(subset not in outcome.scores for subset in subsets):
        return None
    return 100 * sum(outcome.scores[subset] for subset in subsets) / len(subsets)


def _language(catalogue: Catalogue, code: str, cells: Mapping[str, float]) -> dict[str, Any]:
    counted = [task.name for task in catalogue.tasks_of(code) if task.counted]
    return _average(cells.get(name) for name in counted)


def _average(scores: Iterable[float | None]) -> dict[str, Any]:
    scores = list(scores)
    known = [score for score in scores if score is not None]
    return {
        "score": sum(known) / len(known) if known else None,
        "measured": len(known),
        "of": len(scores),
    }


def _same_tasks(
    catalogue: Catalogue, cells: Cells, theirs: Mapping[str, Mapping[str, float]]
) -> dict[str, float | None]:
    """Return a published model's means over the tasks measured here, for each language with any."""
    means: dict[str, float | None] = {}
    for code, own in cells.items():
        counted = [task.name for task in catalogue.tasks_of(code) if task.counted]
        means[code] = _average(theirs.get(code, {}).get(name) for name in counted if name in own)["score"]
    return means
