"""A question with its filters, checked once for every way of asking."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.languages import CODES
from search.errors import RequestError
from store.types import Filter


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be asked for at a time."""

    query_characters: int = 1000
    limit: int = 50
    offset: int = 1000


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question and what may answer it.

    Attributes:
        text: the question.
        languages: languages of the passages; empty for any.
        folder: absolute path of a folder or file to search below.
        modified_from: earliest change of the document, seconds since the epoch.
        modified_to: latest change.
        limit: most documents on the page.
        offset: documents left out before it.
        query_language: the question's language, if the sender knows better than the detection.
    """

    text: str
    languages: tuple[str, ...] = ()
    folder: str | None = None
    modified_from: float | None = None
    modified_to: float | None = None
    limit: int = 10
    offset: int = 0
    query_language: str | None = None

    def filter(self, *, languages: bool = True, folder: bool = True) -> Filter:
        """The store's filter, without one of its conditions where asked so."""
        return Filter(
            languages=self.languages if languages else (),
            path_prefix=self.folder if folder else None,
            modified_from=self.modified_from,
            modified_to=self.modified_to,
        )


def check_request(request: SearchRequest, limits: Limits) -> SearchRequest:
    """Return the request in its normal form.

    Raises:
        RequestError: a value is missing, unknown or above its limit; says which and what is accepted.
    """
    text = _clean(request.text)
    if not text:
        raise RequestError("The question is empty", parameter="q", hint="Give some words to search for.")
    if len(text) > limits.query_characters:
        raise RequestError(
            f"The question has {len(text)} characters; the limit is {limits.query_characters}",
            parameter="q",
            limit=limits.query_characters,
            hint="Ask for its gist.",
        )
    check_number("limit", request.limit, 1, limits.limit)
    check_number("offset", request.offset, 0, limits.offset)
    _check_times(request)
    return replace(
        request,
        text=text,
        languages=check_languages(request.languages),
        folder=normalise_folder(request.folder),
        query_language=check_languages((request.query_language,))[0] if request.query_language else None,
    )


def check_languages(codes: Sequence[str]) -> tuple[str, ...]:
    """Return the codes in lower case, each once.

    Raises:
        RequestError: one is not among the 14.
    """
    wanted = tuple(dict.fromkeys(code.strip().lower() for code in codes if code.strip()))
    for code in wanted:
        if code not in CODES:
            raise RequestError(
                f"Unknown language {code[:20]!r}",
                parameter="language",
                hint=f"Use one of {', '.join(CODES)}.",
            )
    return wanted


def check_number(parameter: str, value: int, least: int, most: int) -> None:
    """Refuse a number out of its bounds.

    Raises:
        RequestError: names the bound that was passed.
    """
    if not least <= value <= most:
        bound = most if value > most else least
        word = "most" if value > most else "least"
        raise RequestError(
            f"{parameter} is {value}; it has to be at {word} {bound}", parameter=parameter, limit=bound
        )


def normalise_folder(folder: str | None) -> str | None:
    """Return an absolute path without a slash at its end; None for none.

    Raises:
        RequestError: the path is relative.
    """
    if folder is None or not folder.strip():
        return None
    if not folder.startswith("/"):
        raise RequestError(
            "The folder is not an absolute path",
            parameter="folder",
            hint="Begin it with '/', as in /home/me.",
        )
    return folder.rstrip("/") or "/"


def _clean(text: str) -> str:
    """Drop control characters and outer white space; Persian and Hindi need their zero-width joiners."""
    return "".join(
        " " if character in "\n\r\t" else character
        for character in text
        if character in "\n\r\t" or unicodedata.category(character) not in {"Cc", "Cs"}
    ).strip()


def _check_times(request: SearchRequest) -> None:
    if None not in (request.modified_from, request.modified_to) and (
        (request.modified_from or 0.0) > (request.modified_to or 0.0)
    ):
        raise RequestError("modified_from is after modified_to", parameter="modified_from", hint="Swap them.")
