"""Sentences in every script: where they end, and that nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.snippets import split_sentences

CASES = [
    ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
    ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
    ("Pi is 3.14 here. Next", ["Pi is 3.14 here.", "Next"]),
    ("J. R. Tolkien wrote. He did", ["J. R. Tolkien wrote.", "He did"]),
    ("see e.g. this one. Done", ["see e.g. this one.", "Done"]),
    ("1. Mix the flour. 2. Bake it.", ["1. Mix the flour.", "2. Bake it."]),
    ("هل ينام؟ لا. يعمل۔ نعم", ["هل ينام؟", "لا.", "يعمل۔", "نعم"]),
    ("यह ठंड है।मधुमक्खियाँ साथ हैं॥ अंत", ["यह ठंड है।", "मधुमक्खियाँ साथ हैं॥", "अंत"]),
    ("আজ শীত। মৌমাছি একসাথে থাকে।", ["আজ শীত।", "মৌমাছি একসাথে থাকে।"]),
    ("날씨가 춥다. 벌은 모인다.", ["날씨가 춥다.", "벌은 모인다."]),
    ("Trời lạnh… Ong tụ lại.", ["Trời lạnh…", "Ong tụ lại."]),
    (
        "# Title\nText goes on\nin a second line.\n\n- one\n- two",
        ["# Title", "Text goes on\nin a second line.", "- one", "- two"],
    ),
    ("A heading\n\nA paragraph", ["A heading", "A paragraph"]),
    (" \n\t ", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "sentences"), CASES)
def test_splits_as_a_reader_would(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(".!?।؟۔ \n#-"))))
def test_sentences_cover_all_but_white_space(text: str) -> None:
    spans = split_sentences(text)
    covered = set()
    for start, end in spans:
        assert start < end
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        assert covered.isdisjoint(range(start, end))
        covered.update(range(start, end))
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)
    assert spans == sorted(spans)


@given(
    st.lists(st.sampled_from(["يتجمع", "النحل", "شتاء", "می‌مانند", "؟", ".", "\n\n", "मधु", "।"]), max_size=30)
)
def test_never_cuts_a_word(words: list[str]) -> None:
    text = " ".join(words)
    for start, end in split_sentences(text):
        assert start == 0 or not (text[start - 1].isalpha() and text[start].isalpha())
        assert end == len(text) or not (text[end - 1].isalpha() and text[end].isalpha())
