"""The 14 languages: code, names, script and writing direction.

The only place that lists them. Knows nothing of models, files or pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Language:
    """One supported language.

    Attributes:
        code: ISO 639-1 code.
        name: English name.
        endonym: the language's name in itself.
        script: ISO 15924 code of the script it is written in.
        direction: writing direction, ``ltr`` or ``rtl``.
    """

    code: str
    name: str
    endonym: str
    script: str
    direction: Literal["ltr", "rtl"] = "ltr"


LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language("en", "English", "English", "Latn"),
        Language("es", "Spanish", "Español", "Latn"),
        Language("ru", "Russian", "Русский", "Cyrl"),
        Language("fr", "French", "Français", "Latn"),
        Language("vi", "Vietnamese", "Tiếng Việt", "Latn"),
        Language("fa", "Persian", "فارسی", "Arab", "rtl"),
        Language("id", "Indonesian", "Bahasa Indonesia", "Latn"),
        Language("ar", "Arabic", "العربية", "Arab", "rtl"),
        Language("fi", "Finnish", "Suomi", "Latn"),
        Language("ko", "Korean", "한국어", "Hang"),
        Language("hi", "Hindi", "हिन्दी", "Deva"),
        Language("bn", "Bengali", "বাংলা", "Beng"),
        Language("te", "Telugu", "తెలుగు", "Telu"),
        Language("sw", "Swahili", "Kiswahili", "Latn"),
    )
}

CODES: tuple[str, ...] = tuple(LANGUAGES)

#: One letter of the script, for the languages whose script tells them from Latin text.
SCRIPT_PATTERNS: dict[str, re.Pattern[str]] = {
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "fa": re.compile(r"[\u0600-\u06ff\ufb50-\ufdff\ufe70-\ufeff]"),
    "ar": re.compile(r"[\u0600-\u06ff\ufb50-\ufdff\ufe70-\ufeff]"),
    "ko": re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "bn": re.compile(r"[\u0980-\u09ff]"),
    "te": re.compile(r"[\u0c00-\u0c7f]"),
}
