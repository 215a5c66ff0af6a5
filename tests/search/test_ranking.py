"""Scores: between 0 and 1, growing with the evidence, never against the order of the hits."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.errors import ConfigError
from search.ranking import (
    WEAK,
    Asked,
    Calibration,
    Evidence,
    FusionWeights,
    Logit,
    ScoreWeights,
    background,
    fusion_for,
    never_rising,
    score,
    weak_below,
)
from store.types import NEAREST

CALIBRATION = Calibration(
    FusionWeights(own=1.2, other=0.8, handicap={"en": 0.3, "vi": 0.5}),
    ScoreWeights(
        own=Logit(-4.0, 1.0, 5.0, 3.0, 0.4),
        other=Logit(-5.0, 7.0, 14.0, 2.0, 0.3),
        chance={"en": 0.25, "vi": 0.5},
        background=0.35,
        weak=0.2,
        pairs={"en-vi": 0.5},
    ),
)
ENGLISH = Asked("en", 1.0, tuple(0.5 - i / 100 for i in range(NEAREST)))

cosine = st.floats(-1, 1)
lexical = st.floats(0, 100)
share = st.floats(0, 1)
scores = st.lists(st.floats(0, 1), max_size=60)
calibrations = st.sampled_from([None, CALIBRATION])
languages = st.sampled_from(["en", "vi", "ko"])


@given(cosine, cosine, lexical, lexical, share, share, languages, share, calibrations)
def test_grows_with_either_kind_of_evidence(a, b, x, y, p, q, language, sure, calibration) -> None:
    low = Evidence(min(a, b), min(x, y), min(p, q), language)
    high = Evidence(max(a, b), max(x, y), max(p, q), language)
    asked = Asked("en", sure, (0.5, 0.4))
    assert 0 <= score(low, asked, calibration) <= score(high, asked, calibration) <= 1


def test_without_calibration_it_tells_near_from_far() -> None:
    assert score(Evidence(0.8, 0, 0, "en"), ENGLISH) > 0.85
    assert score(Evidence(0.05, 0, 0, "en"), ENGLISH) < WEAK == weak_below(None)
    assert score(Evidence(0.4, 5, 0.3, "en"), ENGLISH) > score(Evidence(0.4, 0, 0, "en"), ENGLISH)


def test_a_hit_that_stands_out_scores_more_than_one_in_a_crowd() -> None:
    hit = Evidence(0.55, 0.0, 0.0, "ko")
    alone = dataclasses.replace(ENGLISH, nearest=(0.55, *[0.2] * (NEAREST - 1)))
    crowd = dataclasses.replace(ENGLISH, nearest=(0.55, *[0.5] * (NEAREST - 1)))
    assert score(hit, alone, CALIBRATION) > score(hit, crowd, CALIBRATION) + 0.2


def test_words_that_any_text_of_the_language_holds_are_no_evidence() -> None:
    at_chance = {code: Evidence(0.4, 0.0, CALIBRATION.score.chance[code], code) for code in ("en", "vi")}
    english = score(at_chance["en"], ENGLISH, CALIBRATION)
    vietnamese = score(at_chance["vi"], dataclasses.replace(ENGLISH, language="vi"), CALIBRATION)
    assert english == pytest.approx(vietnamese)


def test_an_unsure_language_is_treated_in_between() -> None:
    hit = Evidence(0.5, 6.0, 0.6, "en")
    sure, unsure, none = (
        score(hit, dataclasses.replace(ENGLISH, confidence=value), CALIBRATION) for value in (1.0, 0.5, 0.0)
    )
    assert min(sure, none) < unsure < max(sure, none)
    assert none == pytest.approx(score(hit._replace(language="ko"), ENGLISH, CALIBRATION))
    halfway = fusion_for(CALIBRATION, dataclasses.replace(ENGLISH, confidence=0.5))
    assert halfway is not None
    assert (halfway.own_weight, halfway.own_handicap) == (pytest.approx(1.0), pytest.approx(0.15))


def test_a_pair_has_an_offset_of_its_own() -> None:
    hit = Evidence(0.5, 0.0, 0.0, "vi")
    odds = [
        p / (1 - p) for p in (score(hit._replace(language=c), ENGLISH, CALIBRATION) for c in ("vi", "ko"))
    ]
    assert odds[0] / odds[1] == pytest.approx(2.71828**0.5, rel=1e-4)


def test_fusion_follows_the_question_and_leaves_other_models_alone() -> None:
    assert fusion_for(None, ENGLISH) is None
    english, korean = (fusion_for(CALIBRATION, Asked(code, 1.0)) for code in ("en", "ko"))
    assert english is not None
    assert korean is not None
    assert (english.lexical_weight, english.own_weight, english.own_handicap) == (0.8, 1.2, 0.3)
    assert korean.own_handicap == pytest.approx(0.4), "the mean, for a language that was not measured"


def test_few_neighbours_are_filled_up_with_common_ones() -> None:
    assert background((), 0.3) == pytest.approx(0.3)
    assert background([0.8] * NEAREST, 0.3) == pytest.approx(0.8)
    assert background([0.8] * (NEAREST // 2), 0.3) == pytest.approx(0.55)


def test_calibrations_survive_a_file_and_say_what_is_wrong_with_it() -> None:
    written = json.loads(json.dumps(CALIBRATION.to_dict()))
    assert Calibration.read(written) == CALIBRATION
    assert Calibration.read(None) is None
    with pytest.raises(ConfigError, match=r"calibration\.score is missing"):
        Calibration.read({"fusion": written["fusion"]})
    written["fusion"]["handicap"]["en"] = "much"
    with pytest.raises(ConfigError, match=r"calibration\.fusion\.handicap\.en is 'much'"):
        Calibration.read(written)


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
