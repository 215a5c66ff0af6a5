"""Show a run as the paper's tables in Markdown, published rows beside the measured one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lusifer.evaluate.benchmark.catalogue import Catalogue
from lusifer.evaluate.benchmark.scores import Published, mean_of_known
from lusifer.evaluate.report import make_table

_UNCOUNTED = "† not in the paper's tables, not counted in the mean."
_APART = "The paper's rows, of other datasets and **not to be compared** with the one above:"
_PARTIAL = "A score with a fraction is the mean of only so many of the datasets or languages it should have."


def to_markdown(report: dict[str, Any], catalogue: Catalogue, published: Published) -> str:
    """Return the whole report: both tables, every cell, and what is missing."""
    run = report["run"]
    parts = [
        f"# Benchmark of {run['model']} ({run['fingerprint']})",
        f"`{run['command']}` with mteb {run['mteb']} on {run['machine']}, {run['date']}. {_scope(catalogue)}",
        per_language_table(report, published),
    ]
    if catalogue.crosslingual:
        parts.append(crosslingual_table(report, published))
    parts += [_cells(report, catalogue, code, published) for code in catalogue.languages]
    parts += [
        f"## {title}\n\n" + "\n".join(f"- {task}: {reason}" for task, reason in report[key].items())
        for key, title in (("unfetched", "Could not be fetched"), ("failed", "Could not be measured"))
        if report[key]
    ]
    return "\n\n".join(parts) + "\n"


def list_tasks(catalogue: Catalogue) -> str:
    """Return the tasks of a catalogue as a table, and how many there are."""
    rows = [
        [
            task.name,
            task.kind,
            " ".join(task.subsets),
            task.split,
            task.metric,
            "yes" if task.counted else "no",
        ]
        for task in catalogue.tasks.values()
    ]
    pairs = sum(len(task.subsets) for task in catalogue.tasks.values())
    head = ["dataset", "kind", "languages", "split", "metric", "counted"]
    end = f"{len(rows)} datasets, {pairs} pairs of dataset and language"
    return make_table(head, rows, text=len(head)) + f"\n\n{end}."


def _scope(catalogue: Catalogue) -> str:
    count = len(catalogue.tasks)
    if catalogue.source is None:
        return f"{count} tasks. {_PARTIAL}"
    return (
        f"{count} local tasks made of {catalogue.source.name}: they show that everything works and compare "
        "models with each other, but not with the paper's rows, which are of other datasets."
    )


def per_language_table(report: dict[str, Any], published: Published) -> str:
    """Return Table 1: a column for each language, then the average."""
    measured = report["per_language"]
    codes = [code for code in published.languages if code in measured]
    own = [[_measured(report), *(_part(measured[code]) for code in codes), _part(report["average"])]]
    if any(row["measured"] < row["of"] for row in measured.values()):
        for model, means in report["same_tasks"].items():
            if any(means.values()):
                own.append([f"{model}, same datasets", *(_score(means.get(code)) for code in codes), ""])
    theirs = _published_rows(published.per_language, published.languages, codes)
    tables = _beside(["model", *codes, "Avg"], own, ["model", *codes, "Avg"], theirs, report)
    return f"## Table 1: per language\n\n{tables}\n\n* trained on much multilingual data."


def crosslingual_table(report: dict[str, Any], published: Published) -> str:
    """Return Table 2: a column for each cross-lingual dataset, then the average."""
    measured = report["crosslingual"]
    own = [[_measured(report), *map(_part, measured.values()), _part(mean_of_known(measured))]]
    local = report["datasets"] == "local"
    titles = published.datasets if local else list(measured)
    theirs = _published_rows(published.crosslingual, published.datasets, titles)
    tables = _beside(["model", *measured, "Avg"], own, ["model", *titles, "Avg"], theirs, report)
    return f"## Table 2: cross-lingual\n\n{tables}"


def _published_rows(
    figures: dict[str, list[float]], heads: list[str], shown: Sequence[str]
) -> list[list[str]]:
    """Return the paper's rows in the columns shown; its average only beside all of its columns."""
    rows = []
    for model, row in figures.items():
        by_head = dict(zip(heads, row, strict=False))
        average = _score(row[-1]) if len(shown) == len(heads) else ""
        rows.append([model, *(_score(by_head[head]) for head in shown), average])
    return rows


def _beside(
    head: list[str],
    own: list[list[str]],
    their_head: list[str],
    theirs: list[list[str]],
    report: dict[str, Any],
) -> str:
    """Return measured and published rows as one table, or as two where they do not compare."""
    if report["datasets"] == "local":
        return f"{make_table(head, own)}\n\n{_APART}\n\n{make_table(their_head, theirs)}"
    return f"{make_table(head, own + theirs)}\n\nBelow the measured row: the paper's, as printed."


def _cells(report: dict[str, Any], catalogue: Catalogue, code: str, published: Published) -> str:
    rows = []
    models = list(published.per_dataset) if catalogue.source is None else []
    for task in catalogue.tasks_of(code):
        own = report["per_dataset"][code].get(task.name)
        theirs = [_score(published.per_dataset[model][code].get(task.name)) for model in models]
        mark = "" if task.counted else " †"
        rows.append([task.name + mark, task.kind, task.metric, task.split, _score(own), *theirs])
    note = "" if all(task.counted for task in catalogue.tasks_of(code)) else f"\n\n{_UNCOUNTED}"
    head = ["dataset", "kind", "metric", "split", report["run"]["model"], *models]
    return f"## {code}\n\n" + make_table(head, rows, text=4) + note


def _measured(report: dict[str, Any]) -> str:
    """Return the measured row's head."""
    where = ", local tasks" if report["datasets"] == "local" else ""
    return f"**{report['run']['model']}**{where}"


def _part(row: dict[str, Any]) -> str:
    """Return a mean, and of how many scores it is if some are missing."""
    text = _score(row["score"])
    return text if row["measured"] in (0, row["of"]) else f"{text} ({row['measured']}/{row['of']})"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
