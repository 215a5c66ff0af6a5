"""HTML pages: what a reader would read, block by block, without scripts, styles and navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser, LexborNode

from indexer.extract.base import Extracted, TextBuilder
from indexer.text.encoding import decode

_DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_XML_DECLARED = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LEFT_OUT = _names(
    "script style nav head noscript template svg math iframe object canvas select button input textarea "
    "dialog audio video"
)
_BLOCKS = _names(
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure "
    "footer form header hgroup hr html legend li main ol p pre section summary table tbody tfoot thead tr ul"
)
#: Blocks with an empty line around them; the others end a line.
_PARAGRAPHS = _names("article aside blockquote body dl figure footer header main ol p pre section table ul")
_CELLS = frozenset(("td", "th"))
_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
_SPACES = re.compile(r"[ \t\r\n\f]+")


class HtmlExtractor:
    """Reads ``.html``, ``.htm`` and ``.xhtml``."""

    def accepts(self, path: Path) -> bool:
        return path.suffix.lower() in (".html", ".htm", ".xhtml")

    def extract(self, path: Path, content: bytes) -> Extracted:  # noqa: ARG002 - the protocol's signature
        tree = LexborHTMLParser(decode(content, declared=_find_declared(content)).text)
        page = _Page()
        if tree.body is not None:
            page.read(tree.body)
        title = tree.css_first("title")
        return page.builder.build(title=_first(title, page), language=_language(tree))


def _find_declared(content: bytes) -> str | None:
    head = content[:4096]
    found = _DECLARED.search(head) or _XML_DECLARED.search(head)
    if not found:
        return None
    name = found[1].decode("ascii").lower()
    # As the HTML standard has it: what calls itself Latin-1 or ASCII is Windows-1252.
    return "cp1252" if name in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii") else name


def _first(title: LexborNode | None, page: _Page) -> str:
    named = title.text().strip() if title is not None else ""
    return named or page.builder.first_heading


def _language(tree: LexborHTMLParser) -> str:
    for node in (tree.root, tree.body):
        if node is not None and (language := node.attributes.get("lang") or node.attributes.get("xml:lang")):
            return language
    return ""


class _Page:
    """Walks the tree without recursion, so that no depth of nesting can exhaust the stack."""

    def __init__(self) -> None:
        self.builder = TextBuilder()
        self._line = ""

    def read(self, body: LexborNode) -> None:
        preformatted = 0
        for node, entering in _steps(body):
            tag = node.tag or ""
            if tag == "pre":
                preformatted += 1 if entering else -1
            if node.is_text_node:
                self._add_text(node.text_content or "", keep=bool(preformatted))
            elif tag in _HEADINGS:
                if entering:
                    self._add_heading(node.text(), int(tag[1]))
            elif tag == "br":
                self._line = self._line.rstrip(" ") + ("\n" if entering else "")
            elif tag in _CELLS:
                self._line += "" if entering else "\t"
            elif tag in _BLOCKS:
                self._break(2 if tag in _PARAGRAPHS else 1)
        self._break(1)

    def _add_heading(self, text: str, level: int) -> None:
        self._break(2)
        self.builder.add_heading(text, level)

    def _add_text(self, text: str, *, keep: bool) -> None:
        if not keep:
            text = _SPACES.sub(" ", text)
            if not self._line or self._line[-1:] in " \n\t":
                text = text.lstrip(" ")
        self._line += text

    def _break(self, line_ends: int) -> None:
        """End the line; the distances that nested blocks keep do not add up."""
        line, self._line = self._line.rstrip(), ""
        self.builder.add(line)
        self.builder.break_lines(line_ends)


def _steps(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Yield every node when it is entered, and every element again when it is left."""
    pending: list[tuple[LexborNode, bool]] = [(root, True)]
    while pending:
        node, entering = pending.pop()
        tag = node.tag or ""
        if entering and tag in _LEFT_OUT:
            continue
        yield node, entering
        if not entering or not node.is_element_node:
            continue
        pending.append((node, False))
        if tag not in _HEADINGS:
            pending.extend((child, True) for child in reversed(list(node.iter(include_text=True))))
