"""Write retrieval results as JSON and as Markdown tables made from it."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np


def describe_run(model: str, fingerprint: str) -> dict[str, str]:
    """Return what a result must carry to be made again: command, model, machine, date."""
    return {
        "command": " ".join(["lusifer", *sys.argv[1:]]),
        "model": model,
        "fingerprint": fingerprint,
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def write_results(results: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write ``<stem>.json`` and ``<stem>.md``; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.json", folder / f"{stem}.md"]
    paths[0].write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    paths[1].write_text(to_markdown(results), encoding="utf-8")
    return paths


def to_markdown(results: dict[str, Any]) -> str:
    """Return the tables of one result, or of several side by side and then each."""
    if "systems" in results:
        each = [to_markdown(result).strip() for result in results["systems"]]
        return (
            "\n\n".join(["# Retrieval quality side by side", _side_by_side(results["systems"]), *each]) + "\n"
        )
    run = results["run"]
    parts = [
        f"# Retrieval quality of {run['model']} ({run['fingerprint']})",
        f"`{run['command']}` on {run['machine']}, {run['date']}.",
    ]
    if "sentences" in results:
        parts.append(_sentences(results["sentences"]))
    if "questions" in results:
        parts.append(_questions(results["questions"]))
    if "mixed" in results:
        parts.append(_mixed(results["mixed"]))
    if "scattered" in results:
        parts.append(_scattered(results["scattered"]))
    if "native" in results:
        parts.append(_native(results["native"]))
    return "\n\n".join(parts) + "\n"


def _side_by_side(results: list[dict[str, Any]]) -> str:
    """Return one row for each system: the means a reader compares."""
    header = [
        "system", "against English", "weakest", "all directions", "same r@1", "same r@10", "cross r@1",
        "cross r@10", "mixed r@10", "bias",
    ]  # fmt: skip
    rows = []
    for result in results:
        sentences, questions, mixed = result["sentences"], result["questions"], result["mixed"]
        found = [row["recall@10"] for row in mixed.values() if isinstance(row, dict)]
        values = [
            sentences["mean"],
            sentences["minimum"],
            sentences["all_directions"],
            *(questions[kind][metric] for kind in ("same", "cross") for metric in ("recall@1", "recall@10")),
            float(np.mean(found)),
            mixed["bias"],
        ]
        rows.append([result["run"]["model"], *map(_cell, values)])
    return make_table(header, rows)


def _sentences(result: dict[str, Any]) -> str:
    languages = list(result["accuracy"])
    head = (
        "## Parallel sentences: accuracy at 1\n\n"
        f"Against English, mean of both directions: **{result['mean']:.3f}**; "
        f"weakest language {result['weakest']} {result['minimum']:.3f}; "
        f"all {len(languages) * (len(languages) - 1)} directions {result['all_directions']:.3f}."
    )
    if "topics" in result:
        head += f" Topics learnt in English, other languages: {np.mean(list(result['topics'].values())):.3f}."
    rows = [[a, *(_cell(result["accuracy"][a].get(b)) for b in languages)] for a in languages]
    return head + "\n\n" + make_table(["from \\ to", *languages], rows)


def _questions(result: dict[str, Any]) -> str:
    same, cross = result["same"], result["cross"]
    head = (
        "## Questions to paragraphs\n\n"
        f"Same language: recall@1 {same['recall@1']:.3f}, recall@10 **{same['recall@10']:.3f}**; "
        f"two languages: recall@1 {cross['recall@1']:.3f}, recall@10 **{cross['recall@10']:.3f}**. "
        "Cells: recall@10, question language down."
    )
    asked = list(dict.fromkeys(pair.split("-")[0] for pair in result["pairs"]))
    answered = list(dict.fromkeys(pair.split("-")[1] for pair in result["pairs"]))
    rows = [
        [a, *(_cell(result["pairs"].get(f"{a}-{b}", {}).get("recall@10")) for b in answered)] for a in asked
    ]
    return head + "\n\n" + make_table(["question \\ paragraph", *answered], rows)


def _mixed(result: dict[str, Any]) -> str:
    rows = [
        [code, *(_cell(row[name]) for name in ("recall@10", "own_share", "own_relevant", "bias"))]
        for code, row in result.items()
        if isinstance(row, dict)
    ]
    header = ["question", "recall@10", "own language in top 10", "own language among relevant", "ratio"]
    return (
        f"## One pool of all languages\n\nLanguage bias (mean ratio): {result['bias']:.2f}.\n\n"
        + make_table(header, rows)
    )


def _scattered(result: dict[str, Any]) -> str:
    mean = result["mean"]
    names = ("other@1", "other@5", "same@1", "own_first", "fair", "loss")
    rows = [
        [code, *(_cell(row[name]) for name in names)] for code, row in result.items() if isinstance(row, dict)
    ]
    head = (
        "## One pool, each paragraph in one language\n\n"
        f"Answer in another language: recall@1 **{mean['other@1']:.3f}** (weakest {result['weakest']:.3f}), "
        f"recall@5 {mean['other@5']:.3f}; in the question's own: recall@1 {mean['same@1']:.3f}.\n\n"
        f"Where the answer is in another language, {mean['own_first']:.2f} of the first hits are in the "
        f"question's own, as is {mean['fair']:.2f} of the pool. Without those paragraphs recall@1 would be "
        f"{mean['loss']:.3f} higher."
    )
    header = [
        "question", "other: recall@1", "other: recall@5", "own: recall@1", "first hit in own language",
        "pool in own language", "loss",
    ]  # fmt: skip
    return head + "\n\n" + make_table(header, rows)


def _native(result: dict[str, Any]) -> str:
    rows = [
        [code, *(_cell(row[name]) for name in ("recall@1", "recall@5"))]
        for code, row in result.items()
        if isinstance(row, dict)
    ]
    head = (
        "## People's questions, one pool of all languages, answer in the question's own\n\n"
        f"recall@1 **{result['mean']['recall@1']:.3f}**, weakest language {result['weakest']:.3f}."
    )
    return head + "\n\n" + make_table(["language", "recall@1", "recall@5"], rows)


def make_table(header: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """Return a table in Markdown; the first ``text`` columns are text, the others numbers."""
    line = ["---"] * text + ["---:"] * (len(header) - text)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, line, *rows))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
