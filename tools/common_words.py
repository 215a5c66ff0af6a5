"""Count how common the commonest terms of each language are: ``python tools/common_words.py DATA``.

DATA is a training folder (``train/<language>.tsv.xz``: source, English, translation). A term counts as common
only if it is so in most sources: "the" is, "file" is not, though manuals are full of it. Writes
``store/common_words.json``; numbers about words, no text.
"""

from __future__ import annotations

import json
import lzma
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from store.lexical.analyser import analyse

OUT = Path(__file__).parents[1] / "store" / "lexical" / "common_words.json"
LANGUAGES = ("es", "ru", "fr", "vi", "fa", "id", "ar", "fi", "ko", "hi", "bn", "te", "sw")
TERMS = 150
SMALLEST_SHARE = 2e-4
SMALLEST_SOURCE = 3_000
LARGEST_SOURCE = 60_000


def count(path: Path, column: int) -> dict[str, Counter[str]]:
    """Count the terms of one side of a file, source by source."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            columns = line.rstrip("\n").split("\t")
            source = columns[0]
            if sizes[source] < LARGEST_SOURCE:
                terms = analyse(columns[column])
                counts[source].update(terms)
                sizes[source] += len(terms)
    return counts


def shares(counts: dict[str, Counter[str]]) -> dict[str, float]:
    """Return the commonest terms and their share: the median over the sources that are large enough."""
    large = [counter for counter in counts.values() if counter.total() >= SMALLEST_SOURCE]
    candidates = {term for counter in large for term, _ in counter.most_common(400)}
    found = {
        term: float(np.median([counter[term] / counter.total() for counter in large])) for term in candidates
    }
    common = sorted((-share, term) for term, share in found.items() if share >= SMALLEST_SHARE)
    return {term: round(-share, 6) for share, term in common[:TERMS]}


def main() -> None:
    folder = Path(sys.argv[1]) / "train"
    table = {"en": shares(count(folder / "fr.tsv.xz", 1))}
    for language in LANGUAGES:
        table[language] = shares(count(folder / f"{language}.tsv.xz", 2))
    OUT.write_text(json.dumps(table, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
