from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from lusifer import tokenization as words
from lusifer.tokenization import WordTokenizer, is_word_by_word

PIECES = ["<pad>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz.,-й", "▁the", "ing", "и", "이", "ک", "ア", "ا"]


def build() -> Tokenizer:
    """Return a tokenizer that normalises and splits the way lusifer-mini's does."""
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - len(piece)) for piece in PIECES], unk_id=1))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[\u064b-\u065f\u200d-\u200f\u00ad]"), ""),
            normalizers.Replace("\u200c", " "),
            normalizers.Replace("ك", "ک"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(prepend_scheme="always"),
        ]
    )
    return tokenizer


TOKENIZER = build()
# Letters that compose, decompose, vanish or turn into spaces, and every kind of space.
TRICKY = st.text(
    st.sampled_from(
        "ab.,- \t\n\u00a0\u3000\u2003\u0085\u200b\u200c\u200d\u00ad\u0301\u0308´¨½ﷺİΣςйﬁᄀ가각アﾞ▁ك\x1c\x1fé"
    )
)


@given(st.lists(TRICKY | st.text(), max_size=6))
def test_ids_are_the_tokenizers_own_for_any_text(texts: list[str]) -> None:
    tokenize = WordTokenizer(TOKENIZER)
    for _ in range(2):
        expected = [encoding.ids for encoding in TOKENIZER.encode_batch_fast(texts, add_special_tokens=False)]
        assert [ids.tolist() for ids in tokenize(texts)] == expected


def test_a_word_seen_before_is_not_tokenised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    encode = words.encode

    def spy(tokenizer: Tokenizer, texts: list[str]) -> object:
        asked.append(sorted(texts))
        return encode(tokenizer, texts)

    monkeypatch.setattr(words, "encode", spy)
    tokenize = WordTokenizer(TOKENIZER)
    tokenize(["the thing", "the end"])
    tokenize(["end the day", "x" * 50])
    tokenize(["x" * 50])
    assert asked == [["end", "the", "thing"], ["day", "x" * 50], ["x" * 50]]


def test_what_is_remembered_stays_bounded_and_right() -> None:
    tokenize = WordTokenizer(TOKENIZER, capacity=50)
    for number in range(0, 2000, 7):
        text = " ".join(f"{'abcdefghij'[digit % 10] * 3}{digit}" for digit in range(number, number + 9))
        assert tokenize([text])[0].tolist() == TOKENIZER.encode(text).ids
        assert tokenize.remembered <= 100
    assert tokenize.remembered > 50


def test_threads_share_the_memory() -> None:
    tokenize = WordTokenizer(TOKENIZER, capacity=20)
    texts = [f"the {chr(97 + index % 26) * 4} {chr(97 + index % 7)}ing" for index in range(200)]
    expected = [TOKENIZER.encode(text).ids for text in texts]
    failures: list[str] = []

    def work() -> None:
        for text, ids in zip(texts, expected, strict=True):
            if tokenize([text])[0].tolist() != ids:
                failures.append(text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def add(*tokens: AddedToken) -> Callable[[Tokenizer], object]:
    return lambda tokenizer: tokenizer.add_special_tokens(list(tokens))


def normalise(*steps: normalizers.Normalizer) -> Callable[[Tokenizer], object]:
    return lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.Sequence(list(steps)))


def split(*steps: pre_tokenizers.PreTokenizer) -> Callable[[Tokenizer], object]:
    return lambda tokenizer: setattr(tokenizer, "pre_tokenizer", pre_tokenizers.Sequence(list(steps)))


SPACE = pre_tokenizers.WhitespaceSplit()


@pytest.mark.parametrize(
    "change",
    [
        normalise(normalizers.Replace(" ", "_")),
        normalise(normalizers.Replace("a b", "c")),
        normalise(normalizers.Replace(Regex(r"\s+"), " ")),
        normalise(normalizers.Replace(Regex("[^a]"), "")),
        normalise(normalizers.Replace(Regex("[\t-z]"), "")),
        normalise(normalizers.Strip()),
        normalise(normalizers.Prepend("▁")),
        split(pre_tokenizers.Metaspace(prepend_scheme="always")),
        split(SPACE, pre_tokenizers.Metaspace(prepend_scheme="first")),
        split(pre_tokenizers.Punctuation("merged_with_next"), SPACE),
        split(pre_tokenizers.ByteLevel()),
        add(AddedToken("<mask>", lstrip=True)),
        add(AddedToken("two words")),
    ],
)
def test_tokenizers_that_look_across_words_are_simply_called(change: Callable[[Tokenizer], object]) -> None:
    tokenizer = build()
    assert is_word_by_word(tokenizer)
    change(tokenizer)
    assert not is_word_by_word(tokenizer)
    text = "a b  the end.\tx two words <mask> "
    expected = tokenizer.encode(text, add_special_tokens=False).ids
    assert WordTokenizer(tokenizer)([text])[0].tolist() == expected


def test_single_steps_count_as_sequences_of_one() -> None:
    tokenizer = build()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = SPACE
    assert is_word_by_word(tokenizer)
    tokenizer.normalizer = None
    assert is_word_by_word(tokenizer)


def test_the_list_of_spaces_is_pythons() -> None:
    assert set(words.SPACES) == {c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()}
