"""Plain text files. The text is taken as it is, in whatever encoding."""

from __future__ import annotations

import re
from pathlib import Path

from indexer.extract.base import Extracted, clean
from indexer.text.encoding import decode

#: A short first line with an empty line after it.
_TITLE = re.compile(r"\s*(\S[^\n]{0,99})\n[ \t]*\n")


class TextExtractor:
    """Reads ``.txt`` and ``.text``."""

    def accepts(self, path: Path) -> bool:
        return path.suffix.lower() in (".txt", ".text")

    def extract(self, path: Path, content: bytes) -> Extracted:  # noqa: ARG002 - the protocol's signature
        text = clean(decode(content).text)
        title = _TITLE.match(text)
        return Extracted(text=text, title=title[1].strip() if title else "")
