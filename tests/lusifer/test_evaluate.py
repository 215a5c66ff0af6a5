"""Measuring: metrics by hand, retrieval with an encoder whose every vector is known, reports, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lusifer.errors import DataError
from lusifer.evaluate.cli import app
from lusifer.evaluate.datasets import (
    ParallelSentences,
    QuestionAnswering,
    Questions,
    read_parallel,
    read_questions,
)
from lusifer.evaluate.metrics import ndcg_at, nearest_centroid, ranks, recall_at, top
from lusifer.evaluate.report import to_markdown, write_results
from lusifer.evaluate.retrieval import mixed_pool, question_retrieval, sentence_retrieval


class Known:
    """An encoder that looks vectors up: what follows the last colon of a text names its direction."""

    def embed_documents(self, texts: list[str]) -> np.ndarray:
        return np.eye(8, dtype=np.float32)[[int(text.rsplit(":", 1)[1]) for text in texts]]

    embed_query = embed_documents


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_ranks_count_ties_against_the_answer() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]])
    positions = ranks(scores, np.array([0, 1, 2]))
    assert positions.tolist() == [0, 1, 2]
    assert recall_at(positions, 1) == pytest.approx(1 / 3)
    assert ndcg_at(positions, 2) == pytest.approx((1 + 1 / np.log2(3)) / 3)


def test_top_is_ordered() -> None:
    assert top(np.array([[0.1, 0.9, 0.5, 0.7]]), 3).tolist() == [[1, 3, 2]]
    assert top(np.array([[0.1, 0.9]]), 10).tolist() == [[1, 0]]


def test_nearest_centroid() -> None:
    train = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    assert nearest_centroid(train, ["a", "a", "b"], train[[0, 2]], ["a", "b"]) == 1.0
    assert nearest_centroid(train, ["a", "a", "b"], train[[0, 2]], ["b", "b"]) == 0.5


def test_sentence_retrieval_by_hand() -> None:
    data = ParallelSentences(
        {"en": ["a:0", "b:1", "c:2"], "fi": ["x:0", "y:1", "z:2"], "sw": ["p:0", "q:2", "r:1"]},
        ["one", "two", "three"],
    )
    result = sentence_retrieval(Known(), data)
    assert result["accuracy"]["en"]["fi"] == 1.0
    assert result["accuracy"]["sw"]["en"] == pytest.approx(1 / 3)
    assert result["mean"] == pytest.approx(2 / 3)
    assert (result["weakest"], result["minimum"]) == ("sw", pytest.approx(1 / 3))
    assert result["topics"] == {"fi": 1.0, "sw": pytest.approx(1 / 3)}


def test_questions_and_the_mixed_pool_by_hand() -> None:
    data = QuestionAnswering(
        {"en": {"e0": "e:0", "e1": "e:1"}, "ar": {"a0": "a:0", "a1": "a:5"}},
        {
            ("en", "en"): Questions(["q0"], ["q:0"], ["e0"]),
            ("en", "ar"): Questions(["q0", "q1"], ["q:0", "q:1"], ["a0", "a1"]),
        },
    )
    result = question_retrieval(Known(), data)
    assert result["same"]["recall@1"] == 1.0
    assert result["pairs"]["en-ar"] == {
        "recall@1": 0.5,
        "recall@10": 1.0,
        "ndcg@10": pytest.approx((1 + 1 / np.log2(3)) / 2),
    }
    mixed = mixed_pool(Known(), data)
    assert mixed["en"]["recall@10"] == 1.0
    assert mixed["en"]["own_share"] == 0.5
    assert mixed["en"]["own_relevant"] == pytest.approx(0.25)
    assert mixed["bias"] == pytest.approx(2.0)


def test_reports_are_made_from_results(tmp_path: Path) -> None:
    data = ParallelSentences({"en": ["a:0", "b:1"], "fi": ["x:0", "y:1"]}, [])
    run = {"command": "c", "model": "m", "fingerprint": "f", "machine": "x", "date": "d"}
    results = {"run": run, "sentences": sentence_retrieval(Known(), data)}
    paths = write_results(results, tmp_path, "r")
    assert json.loads(paths[0].read_text()) == results
    assert "| en |  | 1.000 |" in paths[1].read_text() == to_markdown(results)


def test_broken_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        read_parallel(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        read_parallel(tmp_path / "bad.jsonl")
    write_jsonl(tmp_path / "one.jsonl", [{"en": "a"}])
    with pytest.raises(DataError, match="no two languages"):
        read_parallel(tmp_path / "one.jsonl")
    with pytest.raises(DataError, match="no paragraphs or questions"):
        read_questions(tmp_path)


def test_the_command_measures_the_shipped_model(tmp_path: Path) -> None:
    parallel = Path(__file__).parents[1] / "data" / "parallel.jsonl"
    (tmp_path / "sib200.jsonl").write_bytes(parallel.read_bytes())
    folder = tmp_path / "mlqa"
    folder.mkdir()
    rows = [json.loads(line) for line in parallel.read_text(encoding="utf-8").splitlines()]
    for code in ("en", "ar"):
        texts = [{"pid": f"{code}{i}", "text": row[code]} for i, row in enumerate(rows)]
        write_jsonl(folder / f"dev.paragraphs.{code}.jsonl", texts)
        asked = [
            {"qid": str(i), "pid": f"{code}{i}", "question": row["en"]} for i, row in enumerate(rows[:10])
        ]
        write_jsonl(folder / f"dev.q-en.c-{code}.jsonl", asked)
    done = CliRunner().invoke(app, ["retrieval", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    assert result["sentences"]["mean"] > 0.9, "everyday sentences, each to be found among forty"
    assert result["sentences"]["minimum"] > 0.8
    assert result["questions"]["same"]["recall@1"] == 1.0
