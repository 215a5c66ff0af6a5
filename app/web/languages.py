"""Languages as pages show them."""

from __future__ import annotations

from typing import Literal

from lusifer.languages import LANGUAGES, Language


def language_of(code: str) -> Language:
    """The language of a code; a code that is none of ours stands for itself."""
    return LANGUAGES.get(code) or Language(code, code, code, "Zyyy")


def direction_of(code: str) -> Literal["ltr", "rtl"]:
    """The writing direction of a language."""
    return language_of(code).direction
