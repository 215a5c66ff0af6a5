"""Runs and excerpts: every character once, no cut inside a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.result import Passage
from search.snippets import Run, excerpt, excerpt_passage, heading_length, make_runs, snap_to_words

words = st.lists(st.text("abcنحلमधु벌", min_size=1, max_size=8), min_size=1, max_size=40)


@given(words, st.data(), st.integers(0, 120))
def test_an_excerpt_keeps_the_mark_and_whole_words(
    parts: list[str], data: st.DataObject, budget: int
) -> None:
    text = " ".join(parts)
    first = data.draw(st.integers(0, len(parts) - 1))
    last = data.draw(st.integers(first, len(parts) - 1))
    start = len(" ".join(parts[:first])) + (first > 0)
    end = start + len(" ".join(parts[first : last + 1]))
    shown = excerpt(text, [(start, end)], budget)
    shown_text = "".join(run.text for run in shown.runs)
    assert [run.text for run in shown.runs if run.level == 2] == [text[start:end]]
    assert shown_text in text
    assert set(shown_text.split()) <= set(parts)
    assert shown.cut_before or text.startswith(shown_text)
    assert shown.cut_after or text.endswith(shown_text)
    assert len(shown_text) <= max(budget, end - start) + 9


def test_a_short_passage_is_whole() -> None:
    shown = excerpt("One. Two.", [(5, 9)], 100)
    assert shown.runs == (Run("One. "), Run("Two.", 2))
    assert not shown.cut_before
    assert not shown.cut_after


def test_a_passage_without_mark_is_shown_from_its_start() -> None:
    shown = excerpt("one two three four five", [], 9)
    assert [run.text for run in shown.runs] == ["one two three"]
    assert shown.cut_after


def test_runs_nest_the_sentence_in_the_passage() -> None:
    assert make_runs("aabbcc", (0, 4), (2, 4)) == [Run("aa", 1), Run("bb", 2), Run("cc")]
    assert make_runs("aabb", (-5, 90), None) == [Run("aabb", 1)]
    assert make_runs("aabb", (9, 12), None) == [Run("aabb")]


@given(st.text("نحل ab\n"), st.integers(-3, 40), st.integers(-3, 40))
def test_a_span_from_an_address_is_widened_to_words(text: str, start: int, end: int) -> None:
    span = snap_to_words(text, (start, end))
    if span is None:
        assert max(start, 0) >= min(end, len(text))
        return
    assert 0 <= span[0] <= max(start, 0)
    assert min(end, len(text)) <= span[1] <= len(text)
    for cut in span:
        assert cut in (0, len(text)) or text[cut - 1].isspace() or text[cut].isspace()


def test_headings_at_the_start_are_measured() -> None:
    assert heading_length("# A\n\n## B\nText", ()) == len("# A\n\n## B\n")
    assert heading_length("Title\n\nText", ("Title",)) == len("Title\n\n")
    assert heading_length("Title goes on\n\nText", ("Title",)) == 0
    assert heading_length("# Only a heading", ()) == 0
    assert heading_length("", ()) == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo", "one two"),
        ("one  \n \n\n two", "one\ntwo"),
        ("one\n- two\n- three", "one\n- two\n- three"),
        ("one\n1. two\n12 three", "one\n1. two 12 three"),
    ],
)
def test_paragraphs_and_items_keep_their_line(text: str, shown: str) -> None:
    passage = Passage(
        text=text,
        start=0,
        end=len(text),
        language="en",
        score=1,
        highlights=[],
        position=0,
        heading="",
        similarity=1,
    )
    assert "".join(run.text for run in excerpt_passage(passage, "", 500).runs) == shown
