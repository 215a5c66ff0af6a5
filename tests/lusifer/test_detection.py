from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.languages import CODES
from lusifer.detection import Detection, detect, detect_any

SENTENCES = {
    "en": "The ferry leaves the harbour every morning before sunrise.",
    "es": "El transbordador sale del puerto todas las mañanas antes del amanecer.",
    "ru": "Паром уходит из гавани каждое утро до восхода солнца.",
    "fr": "Le bac quitte le port chaque matin avant le lever du soleil.",
    "vi": "Chiếc phà rời bến cảng mỗi sáng trước khi mặt trời mọc.",
    "fa": "کشتی هر روز صبح پیش از طلوع آفتاب از بندر حرکت می‌کند.",
    "id": "Kapal feri meninggalkan pelabuhan setiap pagi sebelum matahari terbit.",
    "ar": "تغادر العبارة الميناء كل صباح قبل شروق الشمس.",
    "fi": "Lautta lähtee satamasta joka aamu ennen auringonnousua.",
    "ko": "여객선은 매일 아침 해가 뜨기 전에 항구를 떠난다.",
    "hi": "नौका हर सुबह सूर्योदय से पहले बंदरगाह से निकलती है।",
    "bn": "ফেরি প্রতিদিন সকালে সূর্যোদয়ের আগে বন্দর ছেড়ে যায়।",
    "te": "పడవ ప్రతి ఉదయం సూర్యోదయానికి ముందు ఓడరేవు నుండి బయలుదేరుతుంది.",
    "sw": "Kivuko huondoka bandarini kila asubuhi kabla ya jua kuchomoza.",
}


@pytest.mark.parametrize("code", CODES)
def test_a_sentence_of_each_language_is_told_with_confidence(code: str) -> None:
    found = detect(SENTENCES[code])
    assert found.code == code
    assert found.confidence > 0.9


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("what is the capital", "en"),
        ("¿dónde?", "es"),
        ("niño", "es"),
        ("qu'est-ce que c'est", "fr"),
        ("nước", "vi"),
        ("mikä on vesi", "fi"),
        ("apa itu air", "id"),
        ("maji ni nini", "sw"),
        ("گربه", "fa"),
        ("مدرسة", "ar"),
        ("في البيت", "ar"),
        ("این چیست", "fa"),
        ("사랑", "ko"),
    ],
)
def test_short_queries_with_a_cue_are_told(query: str, code: str) -> None:
    assert detect(query).code == code


def test_one_latin_word_is_less_certain_than_a_sentence_and_than_a_script_of_its_own() -> None:
    assert detect("radio").confidence < 0.9 < detect(SENTENCES["es"]).confidence
    assert detect("радио").confidence == 0.99


@pytest.mark.parametrize("text", ["", "  \n", "12345 + 6", "🙂🙂", "漢字", "https://example.org/the/page"])
def test_a_text_without_letters_of_the_fourteen_is_english_with_no_confidence(text: str) -> None:
    assert detect(text) == Detection("en", 0.0)


def test_latin_terms_inside_another_script_do_not_decide() -> None:
    assert detect("pip install torch 설치하는 방법").code == "ko"
    assert detect("HTTP API क्या है").code == "hi"
    assert detect("The Korean word 사랑 means love, and it is used very often in songs.").code == "en"


def test_persian_typed_with_arabic_letters_is_still_persian() -> None:
    assert detect("پيش از طلوع آفتاب در يك شهر بزرگ").code == "fa"


def test_decomposed_vietnamese_reads_like_composed() -> None:
    import unicodedata

    assert detect(unicodedata.normalize("NFD", SENTENCES["vi"])) == detect(SENTENCES["vi"])


def test_the_answer_does_not_depend_on_order_or_thread() -> None:
    texts = list(SENTENCES.values()) * 5
    expected = [detect(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(detect, reversed(texts))) == expected[::-1]


def test_the_answer_does_not_depend_on_the_process() -> None:
    script = "from lusifer.detection import detect; print(detect('casa de agua'))"
    runs = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert runs == {f"{detect('casa de agua')}\n"}


def test_a_long_text_is_judged_by_its_beginning() -> None:
    beginning = SENTENCES["fi"] * 20
    assert detect(beginning + " the" * 2_000_000) == detect(beginning)


@given(st.text())
def test_any_text_gets_one_of_the_fourteen_and_a_probability(text: str) -> None:
    found = detect(text)
    assert found.code in CODES
    assert 0.0 <= found.confidence <= 0.99


OTHERS = {
    "de": "Die Fähre verlässt den Hafen jeden Morgen vor Sonnenaufgang.",
    "it": "Il traghetto lascia il porto ogni mattina prima dell'alba.",
    "pt": "A balsa deixa o porto todas as manhãs antes do nascer do sol.",
    "nl": "De veerboot verlaat de haven elke ochtend voor zonsopgang.",
    "pl": "Prom opuszcza port każdego ranka przed wschodem słońca.",
    "tr": "Feribot her sabah gün doğmadan önce limandan ayrılır.",
    "el": "Το φέρι φεύγει από το λιμάνι κάθε πρωί πριν από την ανατολή.",
    "uk": "Пором щоранку виходить із гавані ще до сходу сонця.",
    "ja": "フェリーは毎朝日の出前に港を出ます。",
    "th": "เรือข้ามฟากออกจากท่าเรือทุกเช้าก่อนพระอาทิตย์ขึ้น",
    "ur": "کشتی ہر صبح سورج نکلنے سے پہلے بندرگاہ سے روانہ ہوتی ہے۔",
}


@pytest.mark.parametrize(("code", "text"), (SENTENCES | OTHERS).items())
def test_other_languages_are_named_by_langdetect(code: str, text: str) -> None:
    found = detect_any(text)
    assert found is not None
    assert found.code == code
    assert found == detect_any(text)


@pytest.mark.parametrize("text", ["", "12345", "🙂🙂"])
def test_langdetect_says_nothing_of_a_text_without_letters(text: str) -> None:
    assert detect_any(text) is None
