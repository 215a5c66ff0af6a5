"""The figures of the paper: its two tables and, for two models, every cell behind the first.

Must not know what was measured here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).parent / "data" / "published.json"


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
    return Published(**json.loads(_DATA.read_text(encoding="utf-8")))
