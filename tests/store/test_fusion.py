"""Fusion: order, ties, and the rule that words never gate and never punish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.fusion import Fused, FusionParameters, coverage, damp, fuse, group


def order(fused: list[Fused[str]]) -> str:
    return "".join(one.id for one in fused)


def test_without_words_the_order_is_that_of_the_vectors() -> None:
    fused = fuse("abc", [0.2, 0.9, 0.5], [0, 0, 0], 10.0)
    assert order(fused) == "bca"


def test_shared_words_lift_a_candidate() -> None:
    assert order(fuse("ab", [0.50, 0.49], [0, 9], 10.0)) == "ba"


def test_one_common_word_does_not_outvote_the_vectors() -> None:
    parameters = FusionParameters(lexical_weight=0.9)
    assert order(fuse("abc", [0.6, 0.5, 0.3], [0, 0, 0.2], 40.0, parameters)) == "abc"


def test_equal_scores_are_ordered_by_id() -> None:
    assert order(fuse("cab", [0.5, 0.5, 0.5 + 1e-9], [1, 1, 1], 2.0)) == "abc"


def test_scores_are_weighted_means() -> None:
    (first, second) = fuse(
        "ab", [0.8, 0.4], [5.0, 0.0], 10.0, FusionParameters(lexical_weight=0.25, full_coverage=0.5)
    )
    assert first == Fused("a", round((0.8 + 0.25 * 0.5) / 1.25, 6), 0.8, 5.0, 0.5)
    assert second.score == pytest.approx(0.4 / 1.25, abs=1e-6)


def test_the_questions_own_language_has_its_own_weight_and_handicap() -> None:
    parameters = FusionParameters(lexical_weight=0.5, own_weight=1.0, own_handicap=0.2, full_coverage=0.0)
    cosines, words = [0.4, 0.4, 0.5], [5.0, 5.0, 0.0]
    fused = {
        one.id: one.score for one in fuse("abc", cosines, words, 10.0, parameters, own=[True, False, True])
    }
    assert fused["a"] == pytest.approx((0.4 + 1.0 * 0.5 - 0.2) / 2, abs=1e-5)
    assert fused["b"] == pytest.approx((0.4 + 0.5 * 0.5) / 2, abs=1e-5)
    assert fused["c"] == pytest.approx((0.5 - 0.2) / 2, abs=1e-5)


def test_a_handicap_changes_nothing_among_candidates_of_one_language() -> None:
    light = FusionParameters(own_weight=1.2, own_handicap=0.0)
    heavy = FusionParameters(own_weight=1.2, own_handicap=0.4)
    cosines, words = [0.1, 0.7, 0.4, 0.6], [8.0, 0.0, 3.0, 1.0]
    assert order(fuse("abcd", cosines, words, 10.0, light, own=True)) == order(
        fuse("abcd", cosines, words, 10.0, heavy, own=True)
    )


def test_damping_is_proportional_up_to_full_coverage() -> None:
    assert damp([1.0], 10.0, 0.5) == pytest.approx(0.2)
    assert damp([7.0, 1.0], 10.0, 0.5) == 1.0
    assert damp([0.1], 10.0, 0.0) == 1.0
    assert damp([], 10.0, 0.5) == 0.0


def test_coverage_is_between_0_and_1() -> None:
    assert coverage([0.0, 5.0, 50.0], 10.0).tolist() == [0.0, 0.5, 1.0]
    assert coverage([3.0], 0.0).tolist() == [0.0]


def test_nothing_in_nothing_out() -> None:
    assert fuse([], [], [], 0.0) == []
    assert group([], {}, 3) == []


def test_groups_follow_their_best_chunk() -> None:
    fused = [
        Fused(id, score, 0.0, 0.0, 0.0) for id, score in (("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.6))
    ]
    documents = {"a": "x", "b": "y", "c": "x", "d": "x"}
    assert [(document, order(chunks)) for document, chunks in group(fused, documents, 2)] == [
        ("x", "ac"),
        ("y", "b"),
    ]


def test_candidates_of_unknown_documents_are_left_out() -> None:
    assert group([Fused("a", 0.9, 0.0, 0.0, 0.0)], {}, 2) == []


candidates = st.lists(
    st.tuples(st.floats(-1, 1), st.floats(0, 30), st.booleans()), min_size=1, max_size=12
).map(lambda rows: (tuple("abcdefghijkl"[: len(rows)]), *map(list, zip(*rows, strict=True))))
parameters = st.builds(
    FusionParameters,
    lexical_weight=st.floats(0, 1),
    own_weight=st.none() | st.floats(0, 2),
    own_handicap=st.floats(0, 1),
    full_coverage=st.floats(0, 1),
)


@given(candidates, st.floats(0, 60), parameters)
def test_words_never_gate_and_never_punish(rows, ideal, parameters) -> None:
    ids, cosines, lexical, own = rows
    fused = {one.id: one for one in fuse(ids, cosines, lexical, ideal, parameters, own=own)}
    alone = {one.id: one for one in fuse(ids, cosines, [0.0] * len(ids), ideal, parameters, own=own)}
    assert set(fused) == set(ids)
    assert all(fused[id].score >= alone[id].score for id in ids)


@given(candidates, st.floats(0.1, 60), parameters)
def test_more_of_either_evidence_never_lowers_a_candidate(rows, ideal, parameters) -> None:
    ids, cosines, lexical, own = rows

    def place(cosines, lexical) -> int:
        return [one.id for one in fuse(ids, cosines, lexical, ideal, parameters, own=own)].index("a")

    before = place(cosines, lexical)
    assert place([1.0, *cosines[1:]], lexical) <= before


@given(candidates, st.floats(0, 60), parameters, st.randoms())
def test_the_order_candidates_come_in_does_not_matter(rows, ideal, parameters, random) -> None:
    shuffled = list(zip(*rows, strict=True))
    random.shuffle(shuffled)
    *mixed, mixed_own = zip(*shuffled, strict=True)
    *straight, own = rows
    assert fuse(*mixed, ideal, parameters, own=mixed_own) == fuse(*straight, ideal, parameters, own=own)


@given(candidates, st.floats(0, 60), parameters)
def test_scores_never_exceed_one(rows, ideal, parameters) -> None:
    *straight, own = rows
    assert all(one.score <= 1 for one in fuse(*straight, ideal, parameters, own=own))
