"""The weight of a question's terms: common words say little, and nothing is ever left out."""

from __future__ import annotations

import numpy as np
import pytest

from store.lexical.analyser import analyse, document_vector, query_vector, term_index
from store.lexical.weights import weight

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
