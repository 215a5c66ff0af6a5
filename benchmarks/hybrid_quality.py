"""Measure the search as the product does it: does fusion pay, is a mixed pool fair, what do scores say?

    python benchmarks/hybrid_quality.py DATA [--model FOLDER] [--output FOLDER]

DATA holds ``mlqa/`` and ``sib200.jsonl`` as ``lusifer evaluate retrieval`` reads them. Two parts: the model's
own calibration on the pools it was fitted on (``lusifer train calibrate``), and the whole product on
``samples/``, which no fit has seen: its questions, the same with their documents taken out of the index,
questions about other things, and nonsense. No randomness.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.settings import Settings
from lusifer import Embedder
from lusifer.evaluate.datasets import read_parallel, read_questions
from search.calibration.pools import gather_pools
from search.calibration.report import measure, to_markdown
from search.ranking import Calibration
from search.request import Limits, SearchRequest, check_request
from search.result import SearchResult
from search.service import search
from store.types import Store

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
NONSENSE = (
    "asdf qwer zxcv", "blah blah blah", "xyzzy plugh", "lorem ipsum dolor sit amet", "qwertyuiop",
    "12345 67890", "foo bar baz", "hjkl hjkl", "zzz zzz zzz", "ыва фыва олдж", "йцукен", "ضصثق فغعه",
    "کشسی بلات", "ㅁㄴㅇㄹ ㅋㅋㅋ", "कखग घङच", "কখগ ঘঙচ", "అఆఇ ఈఉఊ", "bla bli blu", "trololo lololo",
    "kukuruku papapa",
)  # fmt: skip
#: Questions of each language about things that ``samples/`` does not hold.
FOREIGN = 60


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    language: str
    expected: tuple[str, ...]


def read_sample_questions() -> list[Question]:
    lines = (ROOT / "tests" / "data" / "sample_questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Question(row["question"], row["language"], tuple(row["expected"])) for row in rows]


def paths(result: SearchResult) -> list[str]:
    return [Path(hit.document.path).relative_to(ROOT).as_posix() for hit in result.hits]


def measure_samples(model: Embedder, store: Store, foreign: list[str]) -> dict[str, Any]:
    """Ask the product about its samples."""

    calibration = Calibration.read(model.calibration)

    def ask(text: str) -> SearchResult:
        request = check_request(SearchRequest(text=text, limit=10), Limits())
        return search(store, model, request, calibration=calibration)

    questions = read_sample_questions()
    answers = [ask(question.text) for question in questions]
    found = [
        [path in question.expected for path in paths(answer)]
        for question, answer in zip(questions, answers, strict=True)
    ]
    right = np.array([marks[:1] == [True] for marks in found])
    good = np.array([answer.good_match for answer in answers])
    return {
        "questions": len(questions),
        "first": float(right.mean()),
        "among_three": float(np.mean([any(marks[:3]) for marks in found])),
        "scores": bins(np.array([answer.hits[0].score for answer in answers]), right),
        "good_match": {
            "right first hit": share(good[right]),
            "wrong first hit": share(good[~right]),
            "all sample questions": share(good),
            "their documents taken out": share(ask_without(store, ask, questions)),
            "questions about other things (MLQA)": share([ask(text).good_match for text in foreign]),
            "nonsense": share([ask(text).good_match for text in NONSENSE]),
        },
    }


def ask_without(store: Store, ask: Any, questions: list[Question]) -> list[bool]:
    """Ask each question while the documents that answer it are out of the index."""
    held: dict[str, list[Any]] = {}
    for chunks, vectors in store.export():
        for chunk, vector in zip(chunks, vectors, strict=True):
            held.setdefault(Path(chunk.path).relative_to(ROOT).as_posix(), []).append((chunk, vector))
    good = []
    for question in questions:
        gone = [held[path] for path in question.expected]
        for document in gone:
            store.delete_document(document[0][0].document_id)
        good.append(ask(question.text).good_match)
        for document in gone:
            store.upsert([chunk for chunk, _ in document], np.stack([vector for _, vector in document]))
    return good


def share(values: Any) -> list[float]:
    """Return the share that is true, and of how many."""
    return [round(float(np.mean(values)), 3), len(values)]


def bins(scores: np.ndarray, right: np.ndarray) -> list[list[float]]:
    edges = (0.0, 0.2, 0.4, 0.6, 0.8, 1.01)
    rows = []
    for low, high in itertools.pairwise(edges):
        chosen = (scores >= low) & (scores < high)
        if chosen.any():
            means = float(scores[chosen].mean()), float(right[chosen].mean())
            rows.append([low, min(high, 1.0), int(chosen.sum()), *means])
    return rows


def samples_to_markdown(result: dict[str, Any]) -> str:
    lines = [
        f"{result['questions']} questions: first hit right {result['first']:.3f}, one of the first "
        f"three {result['among_three']:.3f}.",
        "",
        "| asked | share with a good match | questions |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {value:.2f} | {count} |" for name, (value, count) in result["good_match"].items()),
        "",
        "| score of the first hit | questions | mean score | right |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {low:.1f} to {high:.1f} | {count} | {mean:.2f} | {right:.2f} |"
            for low, high, count, mean, right in result["scores"]
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = Embedder.load(arguments.model)
    questions = read_questions(arguments.data / "mlqa")
    foreign = [
        text
        for (asked, answered), group in questions.questions.items()
        if asked == answered
        for text in group.texts[:FOREIGN]
    ]
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["--model", arguments.model] if arguments.model else []
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "index",
            str(ROOT / "samples"),
            "--data",
            folder,
            *chosen,
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        store = Settings(data=Path(folder)).location().open()
        samples = measure_samples(model, store, foreign)
        store.close()
    record: dict[str, Any] = {"model": model.name, "fingerprint": model.fingerprint, "samples": samples}
    calibration = Calibration.read(model.calibration)
    parts = [
        f"# Dense, lexical and fused search, {model.name} ({model.fingerprint})",
        f"`python benchmarks/hybrid_quality.py DATA`, {platform.machine()}, "
        f"Python {platform.python_version()}.",
        "## The whole product on samples/",
        samples_to_markdown(samples),
    ]
    if calibration is not None:
        pools = gather_pools(model, questions, read_parallel(arguments.data / "sib200.jsonl"))
        record["dev"] = measure(pools, calibration)
        parts += ["## MLQA dev and SIB-200, on which the weights were chosen", to_markdown(record["dev"])]
    text = "\n\n".join(part.rstrip() for part in parts) + "\n"
    sys.stdout.write(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "hybrid_quality.md").write_text(text, encoding="utf-8")
    (arguments.output / "hybrid_quality.json").write_text(
        json.dumps(record, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
