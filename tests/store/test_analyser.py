"""The analyser's promises, as golden tables for all 14 languages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.lexical import (
    AVERAGE_WORDS,
    MAX_WORD,
    analyse,
    document_vector,
    expand,
    fold,
    query_vector,
    term_index,
    weight,
    words,
)

GOLDEN = {
    "en": ("Don't PANIC: Finland's 3.11 release", "dont panic finland s 3.11 release"),
    "es": ("¿Dónde está el niño?", "dónde donde está esta el niño nino"),
    "ru": ("Ёлка и йод, ещё раз", "елка и йод еще раз"),
    "fr": ("L’été, qu'une œuvre", "l été ete qu une œuvre oeuvre"),
    "vi": ("Nước Việt Nam ở Đông Á", "nước nuoc việt viet nam ở o đông dong á a"),
    "fa": ("کتاب‌ها را می‌خوانم ۱۲۳", "كتاب ها كتابها را مي خوانم ميخوانم 123"),
    "id": ("Buku-buku di Jakarta", "buku buku di jakarta"),
    "ar": ("الْمَدِينَةُ الكبرى وأحمد ٣٫١٤", "المدينه الكبري واحمد 3.14"),
    "fi": ("Äänekoski, Åbo ja HÖLYNPÖLY", "äänekoski aanekoski åbo abo ja hölynpöly holynpoly"),
    "ko": ("서울에서 GPU를 2024년 친구", "서울에서 서울 울에 에서 gpu 를 2024 년 친구"),
    "hi": ("हिन्दी क़लम १२३ चाँद", "हिंदी कलम 123 चांद"),
    "bn": ("বাংলা ভাষা উত্‍সব ২০২৪", "বাংলা ভাষা উৎসব 2024"),
    "te": ("తెలుగు భాష క్‌ష ౧౨", "తెలుగు భాష క్ష 12"),
    "sw": ("Ng'ombe wa Mji", "ngombe wa mji"),
}

SAME = [
    ("fa", "کتاب", "كتاب", "yeh and kaf as Arabic keyboards have them"),
    ("fa", "ایران ۱۴۰۳", "ايران 1403", "Persian letters and digits"),
    ("ar", "أحمد إلى", "احمد الي", "hamza and alef maqsura"),
    ("ar", "مـــكتبة", "مكتبه", "tatweel and teh marbuta"),
    ("ru", "актёр", "АКТЕР", "yo"),
    ("hi", "हिन्दी", "हिंदी", "nasal in full or as a dot"),
    ("hi", "ज़रूर", "जरूर", "nukta"),
    ("bn", "ড়", "ড\u09bc", "composed and decomposed"),
    ("te", "క్\u200cష", "క్ష", "zero-width non-joiner"),
    ("ko", "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "composed and decomposed"),
    ("vi", "việt", "vie\u0323\u0302t", "composed and decomposed"),
    ("fr", "ﬁn", "fin", "ligature"),
    ("en", "ＦＵＬＬ　ｗｉｄｔｈ", "full width", "width"),
    ("en", "co\u00adoperate", "cooperate", "soft hyphen"),
    ("en", "1,000,000", "1000000", "thousands separators"),
    ("es", "3,14", "3.14", "decimal comma"),
]


@pytest.mark.parametrize("code", GOLDEN)
def test_terms_of_each_language(code: str) -> None:
    text, expected = GOLDEN[code]
    assert analyse(text) == expected.split()


@pytest.mark.parametrize(("code", "one", "other", "why"), SAME)
def test_spellings_that_are_one_word(code: str, one: str, other: str, why: str) -> None:
    assert analyse(one) == analyse(other), f"{code}: {why}"


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("서울에서", "서울"),
        ("검색엔진은", "검색엔진"),
        ("친구를", "친구"),
        ("GPU를", "gpu"),
        ("thành phố Hà Nội", "ha noi"),
        ("información", "informacion"),
        ("کتاب‌هایم", "کتاب"),
        ("l'université", "universite"),
        ("2024-05-01", "2024"),
        ("01.05.2024", "2024"),
        ("Python 3.11", "3.11"),
        ("v2.5.1", "v2.5.1"),
        ("https://example.com/about_us", "about"),
        ("(Helsinki)", "helsinki"),
    ],
)
def test_what_is_typed_finds_what_is_written(written: str, typed: str) -> None:
    assert set(analyse(typed)) & set(analyse(written))


@pytest.mark.parametrize(
    ("one", "other"), [("más", "mas"), ("ma", "má"), ("ড", "ড়"), ("й", "и"), ("3.11", "3.12")]
)
def test_words_that_stay_apart(one: str, other: str) -> None:
    assert analyse(one) != analyse(other)


@given(st.text(max_size=60))
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(max_size=60))
def test_analysing_folded_text_changes_nothing(text: str) -> None:
    assert analyse(fold(text)) == analyse(text)


@given(st.text(max_size=80))
def test_any_text_has_terms_that_can_be_stored(text: str) -> None:
    assert all(term and not term.isspace() and "'" not in term for term in analyse(text))
    indices, weights = document_vector([text])
    assert len(set(indices.tolist())) == len(indices) == len(weights)
    assert np.all(np.diff(indices.astype(np.int64)) > 0)
    assert np.all((weights > 0) & np.isfinite(weights))
    assert set(query_vector(text)[0].tolist()) == set(indices.tolist())


@given(st.lists(st.sampled_from(["library", "nine", "서울에서", "cửa", "книга"]), max_size=12))
def test_words_next_to_each_other_do_not_change_each_other(parts: list[str]) -> None:
    assert analyse(" ".join(parts)) == [term for part in parts for term in analyse(part)]


def test_indices_are_the_same_on_every_machine() -> None:
    assert [term_index(term) for term in ("library", "서울", "كتاب")] == [
        937306897,
        2299856454,
        3720035580,
    ]  # b2sum -l 32


def test_terms_that_share_an_index_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.lexical.term_index", lambda term: 7 if term in ("zorble", "quux") else 1)
    indices, weights = document_vector(["zorble quux frotz"])
    assert indices.tolist() == [1, 7]
    once, twice = weights
    assert once < twice < 2 * once


def test_a_word_seen_once_in_an_average_chunk_weighs_one() -> None:
    indices, weights = document_vector([" ".join(f"word{n}" for n in range(AVERAGE_WORDS))])
    assert len(indices) == AVERAGE_WORDS
    assert weights == pytest.approx(np.ones(AVERAGE_WORDS))


def test_repetition_saturates_and_length_costs() -> None:
    def weigh(text: str) -> float:
        indices, weights = document_vector([text])
        return float(weights[indices.tolist().index(term_index("library"))])

    filler = " filler" * 50
    once, twice, often = (weigh("library " * times + filler) for times in (1, 2, 50))
    assert once < twice < 2 * once
    assert often < 2.2
    assert weigh("library" + filler * 4) < once


def test_headings_count_with_the_text() -> None:
    indices, _ = document_vector(["Sourdough", "Bread › Starter", "Feed it daily"])
    assert set(query_vector("starter sourdough daily")[0].tolist()) <= set(indices.tolist())


def test_endless_words_are_cut() -> None:
    assert [len(term) for term in analyse("a" * 100_000)] == [MAX_WORD]
    assert sum(map(len, expand("가" * 100_000))) < 10 * MAX_WORD


@pytest.mark.parametrize("text", ["", " \n\t", "!?…—", "\u200b\u200c\u200d", "🙂"])
def test_text_without_words_has_no_terms(text: str) -> None:
    assert words(text) == []
    assert len(document_vector([text])[0]) == len(query_vector(text)[0]) == 0


FUNCTION_WORDS = {
    "en": "what", "es": "para", "ru": "что", "fr": "les", "vi": "của", "fa": "است", "id": "yang",
    "ar": "هذا", "fi": "että", "ko": "있습니다", "hi": "लिए", "bn": "এবং", "te": "మరియు", "sw": "kwa",
}  # fmt: skip
CONTENT_WORDS = ("snake", "serpiente", "змея", "ثعبان", "käärme", "뱀", "साँप", "পাম্প", "పాము", "nyoka")


@pytest.mark.parametrize(("language", "word"), FUNCTION_WORDS.items())
def test_function_words_weigh_little_in_every_language(language: str, word: str) -> None:
    assert all(0 < weight(term) < 0.5 for term in analyse(word)[:1]), language


@pytest.mark.parametrize("word", CONTENT_WORDS)
def test_content_words_weigh_in_full(word: str) -> None:
    assert max(map(weight, analyse(word))) > 0.9


def test_a_question_carries_the_weights_and_a_passage_does_not() -> None:
    indices, weights = query_vector("what about the snake")
    found = dict(zip(indices.tolist(), weights.tolist(), strict=True))
    assert found[term_index("snake")] == pytest.approx(1.0)
    assert found[term_index("the")] < 0.05
    assert len(found) == 4, "no term is left out"
    once = dict(zip(*(part.tolist() for part in document_vector(["the snake"])), strict=True))
    assert once[term_index("the")] == once[term_index("snake")]


def test_a_question_of_common_words_alone_keeps_them_all() -> None:
    indices, weights = query_vector("to be or not to be")
    assert len(indices) == 4
    assert np.all(weights > 0)
