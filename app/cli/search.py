"""``lusifer search``: one question from the command line; needs no server.

A result is printed in colour and wrapped on a terminal, as plain unwrapped lines in a pipe. Control
characters are left out: text of documents could steer the terminal with them.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from app.cli import ModelOption
from common.languages import LANGUAGES
from indexer.cli import DataOption

if TYPE_CHECKING:
    from search.result import Hit, Passage, SearchResult

_INDENT = 4
_BUDGET = 300


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question, in any of the languages.")],
    data: DataOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result object of the API instead.")
    ] = False,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", "-l", help="Only passages in this language; repeat it for several."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Most documents shown.")] = 10,
    offset: Annotated[int, typer.Option(help="Documents to leave out first.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Only documents in this folder and below.", show_default=False)
    ] = None,
    model: ModelOption = None,
) -> None:
    """Find the documents that answer a question."""
    from app.settings import Settings
    from common.settings import load_settings
    from search.request import SearchRequest

    settings = load_settings(Settings, data=data, model=model)
    request = SearchRequest(
        text=query,
        languages=tuple(language or ()),
        folder=None if folder is None else folder.expanduser().absolute().resolve().as_posix(),
        limit=limit,
        offset=offset,
    )
    index = settings.search_index()
    try:
        result = index.search(request)
    finally:
        index.close()
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    else:
        print_result(result)


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
    from search.snippets import excerpt_passage

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
