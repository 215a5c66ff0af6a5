"""Which sentence of a passage is marked."""

from __future__ import annotations

from search.snippets import choose_sentences
from tests.doubles import WordModel

Passage = tuple[str, tuple[str, ...]]


def mark(model: WordModel, question: str, *passages: str | Passage) -> list[str | None]:
    given = [(one, ()) if isinstance(one, str) else one for one in passages]
    spans = choose_sentences(given, model.embed_documents, model.embed_query(question)[0])
    return [
        None if span is None else text[slice(*span)] for (text, _), span in zip(given, spans, strict=True)
    ]


def test_marks_the_sentence_with_the_answer_in_each_passage(model: WordModel) -> None:
    marked = mark(
        model,
        "bees in winter",
        "الطقس بارد. يتجمع النحل في الشتاء! العسل غذاء.",
        "Snow falls. A dog barks. Bees form a ball in winter.",
        "आज ठंड है। मधुमक्खियाँ सर्दियों में साथ रहती हैं।",
    )
    assert marked == [
        "يتجمع النحل في الشتاء!",
        "Bees form a ball in winter.",
        "मधुमक्खियाँ सर्दियों में साथ रहती हैं।",
    ]


def test_does_not_mark_a_heading_though_it_is_closest(model: WordModel) -> None:
    markdown = "# Bees in winter\n\nThey form a ball."
    known = ("Bees in winter\n\nThey form a ball.", ("Bees in winter",))
    plain = "About bees in winter\n\nThey form a ball."
    glued = ("Bees in winter\nThey form a ball.", ("Bees in winter",))
    marked = mark(model, "bees in winter", markdown, known, plain, glued)
    assert marked == ["They form a ball."] * 4


def test_marks_a_heading_where_there_is_nothing_else(model: WordModel) -> None:
    assert mark(model, "bees", "# Bees in winter") == ["# Bees in winter"]


def test_a_blank_passage_has_no_mark_and_shifts_no_other(model: WordModel) -> None:
    assert mark(model, "bees", "", "A dog. Bees.") == [None, "Bees."]


def test_embeds_all_sentences_of_all_passages_at_once(model: WordModel) -> None:
    model.calls.clear()
    mark(model, "bees", "One. Two.", "Three.")
    assert model.calls == [1, 3]
