"""The table of languages is complete, and every reader of it finds what it needs."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from pathlib import Path

import pytest

from common.languages import CODES, ENCODINGS, LANGUAGES, SCRIPTS, SIGNS, SPELLINGS, expand, load_counts
from store.lexical import fold

ROOT = Path(__file__).parents[2]
PARAGRAPHS: dict[str, str] = json.loads(
    (ROOT / "tests" / "indexer" / "data" / "paragraphs.json").read_text(encoding="utf-8")
)


def test_there_are_fourteen_with_names_of_their_own() -> None:
    assert len(CODES) == 14
    assert len({language.endonym for language in LANGUAGES.values()}) == 14
    assert {code for code in CODES if LANGUAGES[code].direction == "rtl"} == {"fa", "ar"}


@pytest.mark.parametrize("code", CODES)
def test_a_language_has_what_tells_it_from_its_neighbours(code: str) -> None:
    language = LANGUAGES[code]
    assert language.script in SCRIPTS
    assert len(language.iso3) == 3
    shared = Counter(each.script for each in LANGUAGES.values())[language.script] > 1
    assert (len(language.words.split()) > 50) == shared
    for encoding in language.encodings:
        assert encoding in ENCODINGS
        codecs.lookup(encoding)


@pytest.mark.parametrize("code", CODES)
def test_text_is_made_of_its_script(code: str) -> None:
    letters = "".join(letter for letter in PARAGRAPHS[code] if letter.isalpha())
    assert len(SIGNS[LANGUAGES[code].script].findall(letters)) > 0.9 * len(letters)


def test_characters_counted_in_a_language_tell_it_from_the_others() -> None:
    counts = load_counts()
    assert tuple(counts) == CODES
    for code, text in PARAGRAPHS.items():
        scores = {
            other: sum(table.characters.get(letter, -16.0) for letter in text)
            for other, table in counts.items()
        }
        assert max(scores, key=scores.__getitem__) == code


def test_ranges_are_written_out() -> None:
    assert "".join(expand("a-cx0-2-")) == "abcx012-"


def test_spellings_that_are_joined_are_joined_once() -> None:
    letters = [letter for group in SPELLINGS for letter in {*group.swapped, *group.rare, group.analyser}]
    assert len(letters) == len(set(letters))
    for group in SPELLINGS:
        assert {fold(letter) for letter in group.swapped + group.rare} <= {group.analyser}


def test_the_tokenizer_to_be_trained_normalises_as_the_shipped_one() -> None:
    from tokenizers import Tokenizer, models

    from lusifer.train.mini.tokenizer import build_normalizer

    made = Tokenizer(models.Unigram())
    made.normalizer = build_normalizer()
    shipped = json.loads((ROOT / "lusifer" / "mini" / "tokenizer.json").read_text(encoding="utf-8"))
    assert json.loads(made.to_str())["normalizer"] == shipped["normalizer"]
