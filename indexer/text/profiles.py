"""How often each character and word occurs in each of the 14 languages.

The tables in ``profiles.json`` tell encodings apart (``encoding.py``) and point at passages in another
language than their document (``language.py``). They were counted from parallel text by
``python -m indexer.profiles FOLDER``.
Must not know files to index.
"""

from __future__ import annotations

import json
import lzma
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from lusifer.languages import CODES

_TABLES = Path(__file__).with_name("profiles.json")
_RAREST = 2e-6
_WORDS = 80
_WORD = re.compile(r"[^\W\d_]+")

#: Signs that typographers use in every language, though software strings, which the tables lean on, do not.
_TYPOGRAPHY = "’‘“”„–—…«»€£¥§°²³±×·©®™•\u00a0"
_TYPOGRAPHY_SCORE = -9.0
#: Letters of foreign names.
_ACCENTED = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýßœš"
_ACCENTED_SCORE = -13.0

#: Log probability of a character the language's text does not contain.
FLOOR = -16.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What text in one language is made of.

    Attributes:
        letters: natural logarithm of each character's share.
        words: the most frequent words, lower case.
    """

    letters: dict[str, float]
    words: frozenset[str]

    @classmethod
    def from_table(cls, letters: dict[str, float], words: Iterable[str]) -> Profile:
        """Complete a shipped table with the signs every language uses."""
        common = dict.fromkeys(_ACCENTED, _ACCENTED_SCORE) | dict.fromkeys(_TYPOGRAPHY, _TYPOGRAPHY_SCORE)
        least = {sign: max(score, letters.get(sign, FLOOR)) for sign, score in common.items()}
        return cls(letters={**letters, **least}, words=frozenset(words))

    def score(self, counts: Counter[str]) -> float:
        """Return the log likelihood of text with these characters."""
        get = self.letters.get
        return sum(number * get(character, FLOOR) for character, number in counts.items())


@cache
def load_profiles() -> dict[str, Profile]:
    """Read the shipped tables, by language code."""
    tables = json.loads(_TABLES.read_text(encoding="utf-8"))
    return {code: Profile.from_table(table["letters"], table["words"]) for code, table in tables.items()}


def build_profile(texts: Iterable[str]) -> Profile:
    """Count characters and words of a language.

    White space counts as one character, so that lines may be of any length.
    """
    letters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        letters.update(" ".join(text.split()) + "\n")
        words.update(word for word in _WORD.findall(text.lower()) if len(word) > 1)
    total = sum(letters.values())
    return Profile(
        letters={c: round(math.log(n / total), 2) for c, n in letters.most_common() if n / total >= _RAREST},
        words=frozenset(word for word, _ in words.most_common(_WORDS)),
    )


def _read_column(path: Path, column: int, *, every: int, limit: int) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in islice(lines, 0, every * limit, every):
            yield line.rstrip("\n").split("\t")[column]


def write_tables(folder: Path, target: Path = _TABLES) -> None:
    """Write the tables of a folder of ``<code>.tsv.xz`` files (columns: source, English, translation)."""
    tables: dict[str, dict[str, object]] = {}
    for code in CODES:
        path, column = (folder / "fr.tsv.xz", 1) if code == "en" else (folder / f"{code}.tsv.xz", 2)
        profile = build_profile(_read_column(path, column, every=3, limit=40_000))
        tables[code] = {"letters": profile.letters, "words": sorted(profile.words)}
    lines = []
    for code, table in tables.items():
        lines.append(f'"{code}": {json.dumps(table, ensure_ascii=False, separators=(",", ":"))}')
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]))
