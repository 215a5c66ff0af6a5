from __future__ import annotations

import pytest

from common.languages import CODES
from indexer.text.language import LanguageFinder
from lusifer.detection import Detection, detect


class Counting:
    """The real detection, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, text: str) -> Detection:
        self.calls += 1
        return detect(text)


@pytest.mark.parametrize("code", CODES)
def test_documents_and_their_passages(code: str, paragraphs: dict[str, str]) -> None:
    detect = Counting()
    finder = LanguageFinder(detect)

    document = finder.of_document(paragraphs[code] * 3)
    calls = detect.calls

    assert document.code == code
    assert document.confidence > 0.9
    assert finder.of_passage(paragraphs[code], document) == document
    assert detect.calls == calls, "a passage in its document's language costs no detection"


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("other", CODES)
def test_passages_in_another_language(code: str, other: str, paragraphs: dict[str, str]) -> None:
    finder = LanguageFinder()

    assert finder.of_passage(paragraphs[other], Detection(code, 0.99)).code == other


@pytest.mark.parametrize("text", ["", "42", "OK, API v2!", "— 1 · 2 —"])
def test_passages_that_say_little_take_their_document_s_language(text: str) -> None:
    assert LanguageFinder().of_passage(text, Detection("te", 0.7)) == Detection("te", 0.7)


def test_unsure_passages_take_their_document_s_language(paragraphs: dict[str, str]) -> None:
    finder = LanguageFinder(lambda text: Detection("ru", 0.6))

    assert finder.of_passage(paragraphs["ru"], Detection("en", 0.9)) == Detection("en", 0.9)


@pytest.mark.parametrize(
    ("hint", "confidence", "expected"),
    [("sw", 0.4, "sw"), ("SW-ke", 0.4, "sw"), ("sw", 0.95, "id"), ("de", 0.4, "id"), ("", 0.4, "id")],
)
def test_hints_count_where_detection_is_unsure(hint: str, confidence: float, expected: str) -> None:
    finder = LanguageFinder(lambda text: Detection("id", confidence))

    assert finder.of_document("maji", hint).code == expected


def test_a_foreign_beginning_does_not_decide_for_a_long_document(paragraphs: dict[str, str]) -> None:
    text = paragraphs["en"] * 4 + "\n\n" + paragraphs["vi"] * 40

    assert LanguageFinder().of_document(text).code == "vi"
