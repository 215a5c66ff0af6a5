"""Read the offline evaluation sets: parallel sentences with topics, and questions with paragraphs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.languages import CODES
from lusifer.errors import DataError


@dataclass(frozen=True, slots=True)
class ParallelSentences:
    """Sentences that mean the same in several languages, row by row.

    Attributes:
        texts: sentences by language; all lists have one length.
        topics: topic of each row; empty where the set has none.
    """

    texts: dict[str, list[str]]
    topics: list[str]


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions in one language over paragraphs in one language.

    Attributes:
        ids: question ids; the same question has the same id in every language.
        texts: the questions.
        relevant: id of the paragraph that answers each.
    """

    ids: list[str]
    texts: list[str]
    relevant: list[str]


@dataclass(frozen=True, slots=True)
class QuestionAnswering:
    """Paragraphs by language, and questions by (question language, paragraph language)."""

    paragraphs: dict[str, dict[str, str]]
    questions: dict[tuple[str, str], Questions]


def read_parallel(path: Path) -> ParallelSentences:
    """Read a JSONL file of rows with one key for each language and, perhaps, ``category``.

    Raises:
        DataError: the file is missing, broken, or has no two languages in every row.
    """
    rows = list(_read_jsonl(path))
    languages = [code for code in CODES if all(isinstance(row.get(code), str) for row in rows)]
    if not rows or len(languages) < 2:
        raise DataError(f"{path} has no two languages in every row", hint="each line is {language: text}")
    topics = [str(row["category"]) for row in rows] if all("category" in row for row in rows) else []
    return ParallelSentences({code: [row[code] for row in rows] for code in languages}, topics)


def read_questions(folder: Path) -> QuestionAnswering:
    """Read ``dev.paragraphs.<language>.jsonl`` and ``dev.q-<x>.c-<y>.jsonl`` of an MLQA-like folder.

    Raises:
        DataError: the folder holds neither, or a file is broken.
    """
    paragraphs = {
        path.name.split(".")[2]: {row["pid"]: row["text"] for row in _read_jsonl(path)}
        for path in sorted(folder.glob("dev.paragraphs.*.jsonl"))
    }
    questions = {}
    for path in sorted(folder.glob("dev.q-*.c-*.jsonl")):
        asked, answered = path.name.split(".")[1:3]
        rows = list(_read_jsonl(path))
        questions[asked.removeprefix("q-"), answered.removeprefix("c-")] = Questions(
            [row["qid"] for row in rows], [row["question"] for row in rows], [row["pid"] for row in rows]
        )
    if not paragraphs or not questions:
        raise DataError(
            f"no paragraphs or questions in {folder}", hint="it needs dev.paragraphs.*.jsonl files"
        )
    return QuestionAnswering(paragraphs, questions)


def read_native_questions(folder: Path) -> QuestionAnswering:
    """Read ``paragraphs.<language>.jsonl`` and ``questions.<language>.jsonl``, each asked in its language.

    A paragraph's title stands before its text.

    Raises:
        DataError: the folder holds no such file, or one is broken.
    """
    paragraphs = {
        path.name.split(".")[1]: {row["pid"]: _titled(row) for row in _read_jsonl(path)}
        for path in sorted(folder.glob("paragraphs.*.jsonl"))
    }
    if not paragraphs:
        raise DataError(f"no paragraphs in {folder}", hint="it needs paragraphs.<language>.jsonl files")
    questions = {}
    for code in paragraphs:
        rows = list(_read_jsonl(folder / f"questions.{code}.jsonl"))
        questions[code, code] = Questions(
            [row["qid"] for row in rows], [row["question"] for row in rows], [row["pid"] for row in rows]
        )
    return QuestionAnswering(paragraphs, questions)


def _titled(row: dict[str, Any]) -> str:
    title, text = str(row.get("title") or ""), str(row["text"])
    return text if not title or text.startswith(title) else f"{title}. {text}"


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"evaluation file {path} does not exist", hint="check the data folder's layout")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number} is not JSON: {error}") from None
