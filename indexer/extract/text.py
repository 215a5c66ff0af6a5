"""Plain text and Markdown files, in whatever encoding.

Plain text is taken as it is. Markdown is parsed as CommonMark with tables: words are kept, mark-up goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.extract.base import Extracted, TextBuilder, clean
from indexer.text.encoding import decode

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

#: A short first line with an empty line after it.
_TITLE = re.compile(r"\s*(\S[^\n]{0,99})\n[ \t]*\n")
_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
_FIELD = re.compile(r"^(title|lang|language)[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_TAG = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)


class TextExtractor:
    """Reads ``.txt`` and ``.text``."""

    def accepts(self, path: Path) -> bool:
        return path.suffix.lower() in (".txt", ".text")

    def extract(self, path: Path, content: bytes) -> Extracted:  # noqa: ARG002 - the protocol's signature
        text = clean(decode(content).text)
        title = _TITLE.match(text)
        return Extracted(text=text, title=title[1].strip() if title else "")


class MarkdownExtractor:
    """Reads ``.md`` and ``.markdown``; the front matter may give ``title`` and ``lang``."""

    def accepts(self, path: Path) -> bool:
        return path.suffix.lower() in (".md", ".markdown")

    def extract(self, path: Path, content: bytes) -> Extracted:  # noqa: ARG002 - the protocol's signature
        source = decode(content).text
        fields: dict[str, str] = {}
        if front := _FRONT_MATTER.match(source):
            fields = {name.lower(): value.strip("\"'") for name, value in _FIELD.findall(front[1])}
            source = source[front.end() :]
        builder = TextBuilder()
        _render(_parser().parse(source), builder)
        language = fields.get("lang") or fields.get("language") or ""
        title = fields.get("title") or builder.first_heading
        return builder.build(title=title, language=language)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Beyond so many quotes in quotes text is dropped: hostile input must not cost quadratic time.
    return MarkdownIt("commonmark", {"maxNesting": 100}).enable("table")


#: Line ends after a block, by the token that closes it; items of a tight list stand on lines of their own.
_ENDS = {
    "paragraph_close": 2,
    "tr_close": 1,
    "table_close": 2,
    "bullet_list_close": 2,
    "ordered_list_close": 2,
}


def _render(tokens: Sequence[Token], builder: TextBuilder) -> None:
    """Append the text of a parsed document, block by block."""
    level = 0
    for token in tokens:
        match token.type:
            case "heading_open":
                level = int(token.tag[1])
            case "heading_close":
                level = 0
            case "inline" if level:
                builder.add_heading(_join(token), level)
            case "inline":
                builder.add(_join(token))
            case "fence" | "code_block" | "html_block":
                text = _TAG.sub("", token.content) if token.type == "html_block" else token.content
                builder.add(text.strip("\n"))
                builder.break_lines(2)
            case "th_close" | "td_close":
                builder.add("\t")
            case kind:
                builder.break_lines(1 if token.hidden else _ENDS.get(kind, 0))


def _join(token: Token) -> str:
    return "".join(_inline(token.children or ()))


def _inline(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        match token.type:
            case "text" | "code_inline":
                yield token.content
            case "softbreak" | "hardbreak":
                yield "\n"
            case "image":
                yield _join(token)
