"""What the benchmark's tests share: a tiny file of parallel sentences with topics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PARALLEL = Path(__file__).parents[1] / "data" / "parallel.jsonl"
#: Rows of the file whose topic is beyond doubt, in an order that deals topics out evenly.
TOPICS = {
    "health": (0, 16, 28, 29),
    "travel": (1, 10, 14, 18),
    "food": (2, 6, 26, 35),
    "nature": (12, 13, 36, 17),
}


@pytest.fixture(scope="session")
def sentences_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen sentences in English, Finnish and Hindi on four topics."""
    rows = [json.loads(line) for line in PARALLEL.read_text(encoding="utf-8").splitlines()]
    path = tmp_path_factory.mktemp("local") / "sentences.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for turn in range(4):
            for topic, numbers in TOPICS.items():
                row = {code: rows[numbers[turn]][code] for code in ("en", "fi", "hi")}
                file.write(json.dumps({**row, "category": topic}, ensure_ascii=False) + "\n")
    return path
