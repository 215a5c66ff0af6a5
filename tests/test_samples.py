"""The promise of the product on its own samples: the right document, in another language, end to end.

The shipped model, the real index of ``samples/`` behind its daemon, the search as page and API use it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.settings import Settings
from search.request import SearchRequest

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds

ROOT = Path(__file__).parents[1]
QUESTIONS = ROOT / "tests" / "data" / "sample_questions.jsonl"

#: Measured with the shipped model (0.60 and 0.74), less a margin of about three questions.
FIRST, AMONG_THREE = 0.56, 0.75


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    language: str
    expected: tuple[str, ...]
    demo: bool


def read_questions() -> list[Question]:
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return [
        Question(row["question"], row["language"], tuple(row["expected"]), row.get("demo", False))
        for row in rows
    ]


def lusifer(*arguments: str) -> str:
    command = [sys.executable, "-m", "app.cli.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the samples, made by the command itself."""
    folder = tmp_path_factory.mktemp("samples")
    report = json.loads(lusifer("index", "samples", "--data", str(folder), "--json"))
    assert report["failed"] == []
    assert report["indexed"] == sum(1 for path in (ROOT / "samples").rglob("*") if path.is_file())
    return folder


@pytest.fixture(scope="module")
def answers(data: Path) -> list[tuple[Question, list[str]]]:
    """Each question with the paths it found, best first."""
    index = Settings(data=data).search_index()
    found = []
    for question in read_questions():
        result = index.search(SearchRequest(text=question.text, limit=10))
        paths = [Path(hit.document.path).relative_to(ROOT).as_posix() for hit in result.hits]
        found.append((question, paths))
    index.close()
    return found


def hit_rate(answers: list[tuple[Question, list[str]]], depth: int) -> float:
    return sum(bool(set(q.expected) & set(paths[:depth])) for q, paths in answers) / len(answers)


def test_most_questions_are_answered_first_or_among_the_first_three(
    answers: list[tuple[Question, list[str]]],
) -> None:
    assert hit_rate(answers, 1) >= FIRST
    assert hit_rate(answers, 3) >= AMONG_THREE


def test_every_question_language_finds_something_right(answers: list[tuple[Question, list[str]]]) -> None:
    for language in {question.language for question, _ in answers}:
        asked = [(question, paths) for question, paths in answers if question.language == language]
        assert hit_rate(asked, 3) >= 0.3, language


@pytest.mark.parametrize(
    ("question", "language", "expected"),
    [
        ("What should I do if a snake bites me?", "en", "te"),
        ("Ninawezaje kuweka akiba ya pesa kwa ajili ya dharura?", "sw", "en"),
        ("چگونه یک رمز عبور امن بسازم؟", "fa", "ko"),
    ],
)
def test_the_demo_questions_cross_languages(data: Path, question: str, language: str, expected: str) -> None:
    result = json.loads(lusifer("search", question, "--data", str(data), "--json", "--limit", "3"))
    first = result["hits"][0]
    assert result["language"]["code"] == language
    assert first["document"]["language"] == expected
    wanted = next(q.expected for q in read_questions() if q.text == question)
    assert first["document"]["path"].endswith(wanted)
    passage = first["passages"][0]
    assert 0 < first["score"] <= 1
    assert passage["highlights"]
    for begin, end in passage["highlights"]:
        assert passage["text"][begin:end].strip()
