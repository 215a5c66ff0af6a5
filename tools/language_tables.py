"""Count what ``common/language_counts.json`` holds: ``python tools/language_tables.py DATA``.

DATA is a training folder (``train/<language>.tsv.xz``: source, English, translation). Two tables for each
language, numbers and no text: how often each character occurs, by which encodings are told apart, and how
common its commonest terms are, by which the words of a question are weighed. A term counts as common only if
it is so in most sources: "the" is, "file" is not, though manuals are full of it.
"""

from __future__ import annotations

import json
import lzma
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from common.languages import CODES, COUNTS
from store.lexical import analyse

EVERY, LINES = 3, 40_000
RAREST = 2e-6
TERMS = 150
SMALLEST_SHARE = 2e-4
SMALLEST_SOURCE = 3_000
LARGEST_SOURCE = 60_000


def read(folder: Path, code: str) -> list[tuple[str, str]]:
    """Return the source and the text of each line in a language."""
    path, column = (folder / "fr.tsv.xz", 1) if code == "en" else (folder / f"{code}.tsv.xz", 2)
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        rows = (line.rstrip("\n").split("\t") for line in lines)
        return [(row[0], row[column]) for row in rows]


def count_characters(texts: Iterable[str]) -> dict[str, float]:
    """Return the logarithm of each character's share; white space of any length counts as one character."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(" ".join(text.split()) + "\n")
    total = counts.total()
    return {sign: round(math.log(n / total), 2) for sign, n in counts.most_common() if n / total >= RAREST}


def count_terms(rows: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return the commonest terms and their share: the median over the sources that are large enough."""
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    for source, text in rows:
        if sizes[source] < LARGEST_SOURCE:
            terms = analyse(text)
            sources[source].update(terms)
            sizes[source] += len(terms)
    large = [counter for counter in sources.values() if counter.total() >= SMALLEST_SOURCE]
    candidates = {term for counter in large for term, _ in counter.most_common(400)}
    found = {
        term: float(np.median([counter[term] / counter.total() for counter in large])) for term in candidates
    }
    common = sorted((-share, term) for term, share in found.items() if share >= SMALLEST_SHARE)
    return {term: round(-share, 6) for share, term in common[:TERMS]}


def main() -> None:
    folder = Path(sys.argv[1]) / "train"
    lines = []
    for code in CODES:
        rows = read(folder, code)
        tables = {
            "characters": count_characters(text for _, text in islice(rows, 0, EVERY * LINES, EVERY)),
            "terms": count_terms(rows),
        }
        parts = (
            f'"{name}": {json.dumps(table, ensure_ascii=False, separators=(",", ":"))}'
            for name, table in tables.items()
        )
        lines.append(f'"{code}": {{' + ",\n".join(parts) + "}")
    COUNTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
