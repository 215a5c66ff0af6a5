from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from indexer.extract import Heading
from indexer.text.chunk import Chunker, Passage, embedding_text

LIMIT = 40


@pytest.fixture(scope="module")
def chunker(tokenizer: Tokenizer) -> Chunker:
    return Chunker(lambda texts: [count(tokenizer, text) for text in texts], LIMIT)


def count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))


def check_tiling(text: str, passages: list[Passage]) -> None:
    assert "".join(text[passage.start : passage.end] for passage in passages) == text
    assert [passage.start for passage in passages] == [0, *(passage.end for passage in passages[:-1])]
    assert all(text[passage.start : passage.end].strip() for passage in passages)


@pytest.fixture(scope="module")
def pieces(paragraphs: dict[str, str]) -> st.SearchStrategy[str]:
    sentences = [s + "." for text in paragraphs.values() for s in text.rstrip(".।").split(". ")]
    gaps = st.sampled_from(["\n", "\n\n", " ", "\n\n\n", "\t", "  \n ", "\u00a0"])
    return st.lists(st.tuples(st.sampled_from(sentences), gaps).map("".join), min_size=1, max_size=30).map(
        "".join
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_passages_tile_text_within_the_limit(
    data: st.DataObject, chunker: Chunker, tokenizer: Tokenizer, pieces: st.SearchStrategy[str]
) -> None:
    text = data.draw(pieces)
    offsets = data.draw(st.lists(st.integers(0, len(text) - 1), max_size=5, unique=True).map(sorted))
    headings = [Heading(offset, data.draw(st.integers(1, 3)), f"H{offset}") for offset in offsets]

    passages = chunker.split(text, headings)

    check_tiling(text, passages)
    assert all(count(tokenizer, text[p.start : p.end]) <= LIMIT for p in passages)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=400))
def test_any_text_is_tiled(text: str, chunker: Chunker) -> None:
    passages = chunker.split(text)

    if text.strip():
        check_tiling(text, passages)
    else:
        assert passages == []


@pytest.mark.parametrize("language", ["en", "ar", "ko", "hi", "te", "vi"])
def test_counts_as_the_tokenizer_does(
    language: str, chunker: Chunker, tokenizer: Tokenizer, paragraphs: dict[str, str]
) -> None:
    text = paragraphs[language]

    assert chunker.count_tokens(text) == count(tokenizer, text)
    assert chunker.count_tokens(text) == count(tokenizer, text)  # from memory


def test_passages_end_at_sentences(chunker: Chunker, paragraphs: dict[str, str]) -> None:
    text = " ".join([paragraphs["sw"].split(" “")[0]] * 6)

    passages = chunker.split(text)

    assert len(passages) > 2
    assert all(text[passage.start : passage.end].rstrip().endswith(".") for passage in passages)


def test_a_word_longer_than_the_limit_is_cut(chunker: Chunker, tokenizer: Tokenizer) -> None:
    text = "x" * 5000

    passages = chunker.split(text)

    check_tiling(text, passages)
    assert all(count(tokenizer, text[p.start : p.end]) <= LIMIT for p in passages)


def test_small_remainders_join_a_neighbour(chunker: Chunker, paragraphs: dict[str, str]) -> None:
    sentence = paragraphs["fi"].split(". ")[0] + ". "
    text = "\n\n".join([sentence, "Niin.", sentence, "On."])

    passages = chunker.split(text)

    assert all(chunker.count_tokens(text[p.start : p.end]) >= LIMIT // 5 for p in passages)


def make_document(*parts: str | tuple[int, str]) -> tuple[str, list[Heading]]:
    text, headings = "", []
    for part in parts:
        if isinstance(part, tuple):
            headings.append(Heading(len(text), *part))
            text += part[1] + "\n\n"
        else:
            text += part + "\n\n"
    return text, headings


def test_passages_keep_the_path_of_headings(chunker: Chunker) -> None:
    text, headings = make_document(
        (1, "Guide"),
        "Opening words.",
        (2, "First"),
        "About one.",
        (3, "Deep"),
        "More.",
        (2, "Second"),
        "About two.",
    )

    passages = chunker.split(text, headings)

    assert [(passage.heading, text[passage.start : passage.end].split("\n")[0]) for passage in passages] == [
        ("Guide", "Guide"),
        ("Guide › First", "First"),
        ("Guide › Second", "Second"),
    ]


def test_passages_before_any_heading_have_none(chunker: Chunker) -> None:
    text, headings = make_document(
        "Preface of some length.", (1, "One"), "Text one.", (1, "Two"), "Text two."
    )

    assert [passage.heading for passage in chunker.split(text, headings)] == ["", "One", "Two"]


def test_headings_without_text_do_not_stand_alone(chunker: Chunker) -> None:
    text, headings = make_document((1, "Part"), (2, "A"), "Text of a.", (1, "Next"), (2, "B"), "Text of b.")

    passages = chunker.split(text, headings)

    check_tiling(text, passages)
    assert [passage.heading for passage in passages] == ["Part", "Next"]


def test_bookmarks_at_the_end_of_the_text_make_no_empty_passage(chunker: Chunker) -> None:
    text = "Some words of a page.\n\n"

    passages = chunker.split(text, [Heading(0, 1, "One"), Heading(len(text), 1, "Two")])

    assert [(passage.start, passage.end) for passage in passages] == [(0, len(text))]


def test_limit_follows_models_that_see_less() -> None:
    assert Chunker.for_model(lambda texts: [], 128).max_tokens == 120
    assert Chunker.for_model(lambda texts: [], 8192).max_tokens == 200


@pytest.mark.parametrize(
    ("title", "heading", "text", "expected"),
    [
        ("Title", "A › B", " body \n", "Title › A › B\nbody"),
        ("Title", "Title › A", "body", "Title › A\nbody"),
        ("Title", "Title › A", "A\n\nbody", "Title\nA\n\nbody"),
        ("", "", "body", "body"),
    ],
)
def test_embedding_text_says_nothing_twice(title: str, heading: str, text: str, expected: str) -> None:
    assert embedding_text(title, heading, text) == expected


def test_embedding_text_bounds_long_headings() -> None:
    assert len(embedding_text("t" * 1000, "h" * 1000, "body")) < 400
