"""What ``lusifer search`` prints: plain in a pipe, wrapped on a terminal, never steering it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from app.cli.search import print_result
from search.request import SearchRequest
from search.service import search

if TYPE_CHECKING:
    from tests.doubles import MemoryStore, WordModel


def printed(store: MemoryStore, model: WordModel, request: SearchRequest, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream,
        force_terminal=terminal,
        width=60,
        highlight=False,
        color_system="truecolor" if terminal else None,
    )
    print_result(search(store, model, request), console)
    return stream.getvalue()


def test_a_pipe_gets_plain_unwrapped_lines(store: MemoryStore, model: WordModel) -> None:
    lines = printed(store, model, SearchRequest("bees in winter", limit=3)).splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[0].startswith("14 documents · question in English (")
    assert lines[2].startswith(" 1. Bees in winter  [English (en)]  ")
    assert lines[3] == "    /docs/nature/bees.md"
    assert lines[4] == "    It is a cold day. Bees form a ball in winter and keep warm. Snow falls."
    assert lines[-1] == "11 more: --offset 3"


def test_a_terminal_gets_colours_and_lines_that_fit(store: MemoryStore, model: WordModel) -> None:
    text = printed(store, model, SearchRequest("bees in winter", limit=3), terminal=True)
    assert "\x1b[1m" in text
    import re

    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 60 for line in text.splitlines())


def test_text_of_documents_cannot_steer_the_terminal(store: MemoryStore, model: WordModel, samples) -> None:
    from dataclasses import replace

    for key, (chunk, row) in list(store.rows.items()):
        evil = replace(chunk, text="\x1b[2J\x07 bees [bold]markup[/bold] \x9b31m", title="\x1b]0;t\x07[red]T")
        store.rows[key] = (evil, row)
    text = printed(store, model, SearchRequest("bees", limit=1))
    assert not any(character in text for character in "\x1b\x07\x9b")
    assert "[bold]markup[/bold]" in text
    assert "[red]T" in text


def test_far_hits_are_called_so(store: MemoryStore, model: WordModel) -> None:
    assert "Nothing good was found" in printed(store, model, SearchRequest("zzzz yyyy"))


def test_nothing_found(store: MemoryStore, model: WordModel) -> None:
    assert printed(store, model, SearchRequest("bees", folder="/nowhere")).startswith("0 documents")
