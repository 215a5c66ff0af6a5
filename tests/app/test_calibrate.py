"""Scores: between 0 and 1, growing with the evidence, never against the order of the hits."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.calibrate import WEAK, never_rising, score

cosine = st.floats(-1, 1)
lexical = st.floats(0, 100)
scores = st.lists(st.floats(0, 1), max_size=60)


@given(cosine, cosine, lexical, lexical)
def test_grows_with_either_kind_of_evidence(a: float, b: float, x: float, y: float) -> None:
    low, high = score(min(a, b), min(x, y)), score(max(a, b), max(x, y))
    assert 0 <= low <= high <= 1


def test_tells_near_from_far() -> None:
    assert score(0.8, 0) > 0.85
    assert score(0.05, 0) < WEAK
    assert score(0.4, 5) > score(0.4, 0)


@given(scores, st.integers(1, 20))
def test_never_rises_and_keeps_within_bounds(values: list[float], page: int) -> None:
    levelled = never_rising(values, page=page)
    assert len(levelled) == len(values)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(levelled))
    assert all(min(values) - 1e-12 <= value <= max(values) + 1e-12 for value in levelled)


@given(scores, st.integers(1, 20))
def test_a_page_shows_the_same_whatever_follows(values: list[float], page: int) -> None:
    whole = never_rising(values, page=page)
    for end in range(page, len(values), page):
        assert never_rising(values[:end], page=page) == whole[:end]


def test_leaves_falling_scores_alone_and_averages_the_others() -> None:
    assert never_rising([0.9, 0.5, 0.1], page=10) == [0.9, 0.5, 0.1]
    assert never_rising([0.2, 0.8, 0.1], page=10) == pytest.approx([0.5, 0.5, 0.1])
