"""Print a result for a person: in colour and wrapped on a terminal, plain unwrapped lines in a pipe.

Text of documents is printed without control characters: they could steer the terminal.
"""

from __future__ import annotations

import unicodedata

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from common.languages import LANGUAGES
from search.result import Hit, Passage, SearchResult
from search.snippets import excerpt_passage

_INDENT = 4
_BUDGET = 300


def print_result(result: SearchResult, console: Console | None = None) -> None:
    """Print the hits of a search."""
    console = console or Console(highlight=False)
    _put(console, _summary(result), 0)
    if result.hits and not result.good_match:
        _put(console, Text("Nothing good was found; these are the nearest passages.", "yellow"), 0)
    for number, hit in enumerate(result.hits, result.offset + 1):
        console.print()
        _put(console, _headline(number, hit, result.weak_below), 0)
        _put(console, Text(_clean(hit.document.path), "dim"), _INDENT)
        _put(console, _quote(hit.passages[0], hit.document.title), _INDENT)
    shown = result.offset + len(result.hits)
    if shown < result.total:
        console.print()
        _put(console, Text(f"{result.total - shown} more: --offset {shown}", "dim"), 0)


def _put(console: Console, text: Text, indent: int) -> None:
    """Print, wrapped within the indent on a terminal only: a pipe's reader does its own."""
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent)))
    else:
        console.print(Text(" " * indent).append(text), soft_wrap=True)


def _summary(result: SearchResult) -> Text:
    language = LANGUAGES[result.language.code]
    noun = "document" if result.total == 1 else "documents"
    asked = f"question in {language.name} ({result.language.confidence:.0%})"
    return Text(f"{result.total} {noun} · {asked} · {result.took_ms:.0f} ms", "dim")


def _headline(number: int, hit: Hit, weak_below: float) -> Text:
    language = LANGUAGES.get(hit.document.language)
    name = f"{language.endonym} ({language.code})" if language else hit.document.language
    line = Text(f"{number:2}. ")
    line.append(_clean(hit.document.title), "bold")
    line.append(f"  [{name}]", "cyan")
    line.append(f"  {hit.score:.0%}", "green" if hit.score >= weak_below else "dim")
    return line


def _quote(passage: Passage, title: str) -> Text:
    shown = excerpt_passage(passage, title, _BUDGET)
    line = Text("… " if shown.cut_before else "")
    for run in shown.runs:
        line.append(_clean(run.text), "bold" if run.level else "")
    return line.append(" …" if shown.cut_after else "")


def _clean(text: str) -> str:
    """One line without control characters."""
    spaced = "".join(" " if character.isspace() else character for character in text)
    safe = "".join(character for character in spaced if unicodedata.category(character) != "Cc")
    lead = " " if safe[:1] == " " else ""
    tail = " " if safe[-1:] == " " else ""
    return (lead + " ".join(safe.split()) + tail) if safe.strip() else lead
