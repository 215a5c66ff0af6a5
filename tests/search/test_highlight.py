"""Which sentence of a passage is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.snippets import Candidate, best_sentences, plan_sentences

if TYPE_CHECKING:
    from tests.app.conftest import WordModel


def mark(model: WordModel, question: str, *passages: Candidate) -> list[str | None]:
    plan = plan_sentences(passages)
    spans = best_sentences(plan, model.embed_documents(plan.texts), model.embed_query(question)[0])
    return [
        None if span is None else passage.text[slice(*span)]
        for passage, span in zip(passages, spans, strict=True)
    ]


def test_marks_the_sentence_with_the_answer_in_each_passage(model: WordModel) -> None:
    marked = mark(
        model,
        "bees in winter",
        Candidate("الطقس بارد. يتجمع النحل في الشتاء! العسل غذاء."),
        Candidate("Snow falls. A dog barks. Bees form a ball in winter."),
        Candidate("आज ठंड है। मधुमक्खियाँ सर्दियों में साथ रहती हैं।"),
    )
    assert marked == [
        "يتجمع النحل في الشتاء!",
        "Bees form a ball in winter.",
        "मधुमक्खियाँ सर्दियों में साथ रहती हैं।",
    ]


def test_does_not_mark_a_heading_though_it_is_closest(model: WordModel) -> None:
    markdown = Candidate("# Bees in winter\n\nThey form a ball.")
    known = Candidate("Bees in winter\n\nThey form a ball.", ("Bees in winter",))
    plain = Candidate("About bees in winter\n\nThey form a ball.")
    glued = Candidate("Bees in winter\nThey form a ball.", ("Bees in winter",))
    marked = mark(model, "bees in winter", markdown, known, plain, glued)
    assert marked == ["They form a ball."] * 4


def test_marks_a_heading_where_there_is_nothing_else(model: WordModel) -> None:
    assert mark(model, "bees", Candidate("# Bees in winter")) == ["# Bees in winter"]


def test_a_blank_passage_has_no_mark_and_shifts_no_other(model: WordModel) -> None:
    assert mark(model, "bees", Candidate(""), Candidate("A dog. Bees.")) == [None, "Bees."]


def test_embeds_all_sentences_of_all_passages_at_once(model: WordModel) -> None:
    model.calls.clear()
    mark(model, "bees", Candidate("One. Two."), Candidate("Three."))
    assert model.calls == [3, 1]
