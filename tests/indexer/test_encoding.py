from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import ExtractionFailed
from indexer.text.encoding import decode

WESTERN = ("cp1252", "iso8859-1", "iso8859-15", "cp850", "mac-roman")
LEGACY = {
    "en": ("cp1252", "mac-roman"),
    "es": WESTERN,
    "fr": WESTERN,
    "fi": WESTERN,
    "id": ("cp1252", "mac-roman"),
    "sw": ("cp1252", "mac-roman"),
    "ru": ("cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic"),
    "ar": ("cp1256", "iso8859-6", "mac-arabic"),
    "fa": ("cp1256",),
    "ko": ("cp949", "euc-kr", "johab"),
    "vi": ("cp1258",),
    "hi": (),
    "bn": (),
    "te": (),
}
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
MARKED = {"utf-16-be": b"\xfe\xff", "utf-32-be": b"\x00\x00\xfe\xff"}


def write_cp1258(text: str) -> bytes:
    """Encode Vietnamese as Windows does: a letter with its quality mark, then the tone mark."""
    tones = "\u0300\u0301\u0303\u0309\u0323"
    letters = []
    for letter in unicodedata.normalize("NFC", text):
        parts = unicodedata.normalize("NFD", letter)
        base = unicodedata.normalize("NFC", "".join(mark for mark in parts if mark not in tones))
        tone = "".join(mark for mark in parts if mark in tones)
        try:
            letters.append(letter.encode("cp1258"))
        except UnicodeEncodeError:
            letters.append((base + tone).encode("cp1258"))
    return b"".join(letters)


@pytest.mark.parametrize(
    ("language", "encoding"), [(code, name) for code, names in LEGACY.items() for name in names]
)
def test_reads_legacy_encodings(language: str, encoding: str, paragraphs: dict[str, str]) -> None:
    text = paragraphs[language]
    if language == "fa":
        text = text.replace("ی", "ي")  # Windows-1256 has no Persian yeh; people wrote the Arabic one
    content = write_cp1258(text) if encoding == "cp1258" else text.encode(encoding, "ignore")
    expected = text if encoding == "cp1258" else content.decode(encoding)

    assert decode(content).text == expected


@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("language", LEGACY)
def test_reads_unicode_with_and_without_mark(
    language: str, encoding: str, paragraphs: dict[str, str]
) -> None:
    assert decode(paragraphs[language].encode(encoding)).text == paragraphs[language]


@pytest.mark.parametrize("encoding", MARKED)
def test_byte_order_marks_of_big_endian_files(encoding: str) -> None:
    assert decode(MARKED[encoding] + "да".encode(encoding)).text == "да"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_reads_whatever_is_utf8(text: str) -> None:
    assert decode(text.encode()).text == text.removeprefix("\ufeff")


@given(st.binary(max_size=300))
def test_gives_text_or_a_reason(content: bytes) -> None:
    try:
        text = decode(content).text
    except ExtractionFailed:
        return
    assert text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") == text


def test_utf8_with_a_broken_byte_stays_utf8(paragraphs: dict[str, str]) -> None:
    content = (paragraphs["ru"] * 5).encode()

    decoded = decode(content[:500] + b"\xff" + content[500:-1])

    assert decoded.encoding == "utf-8"
    assert decoded.text.startswith(paragraphs["ru"])


def test_one_letter_far_into_an_ascii_file_decides() -> None:
    content = b"plain words go on and on\n" * 20_000 + "le café est fermé à midi\n".encode("cp1252")

    assert decode(content).text.endswith("le café est fermé à midi\n")


def test_end_of_file_sign_of_dos_is_dropped() -> None:
    assert decode("Größe\r\n".encode("cp1252") + b"\x1a").text == "Größe\r\n"


def test_declared_encoding_settles_what_bytes_leave_open() -> None:
    content = "Ζωή".encode("cp1253")

    assert decode(content, declared="cp1253").text == "Ζωή"


@pytest.mark.parametrize("declared", ["no-such-encoding", "utf-8", "ascii"])
def test_wrong_declaration_is_not_believed(declared: str) -> None:
    assert decode("déjà vu à l'été".encode("cp1252"), declared=declared).text == "déjà vu à l'été"


@pytest.mark.parametrize(
    "content",
    [
        random.Random(1).randbytes(4000),
        b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(500),
        b"\x7fELF" + bytes(200),
        bytes(range(1, 32)) * 20,
    ],
    ids=["noise", "png", "elf", "controls"],
)
def test_binary_files_are_refused(content: bytes) -> None:
    with pytest.raises(ExtractionFailed, match=r"not a text file|cannot be told"):
        decode(content)


def test_unknown_encoding_names_the_remedy() -> None:
    with pytest.raises(ExtractionFailed, match="save it as UTF-8"):
        decode(bytes(range(0x81, 0xFF)) * 8)


def test_encoding_of_another_language_is_left_to_charset_normalizer() -> None:
    text = "中文文本的编码检测是一个有趣的问题，因为很多编码都很相似。" * 8

    assert decode(text.encode("gb18030")).text == text


def test_empty_file_is_empty_text() -> None:
    assert decode(b"").text == ""
