"""Make a tiny data folder out of a folder of documents, so that the whole recipe can be tried in a minute.

The layout is that of a real one. What it teaches is little: documents of one sub-folder, which treat one
topic, stand in for translations of each other. Must not know tokenizers or training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lusifer.detection import detect
from lusifer.errors import DataError
from lusifer.train.corpus import PIVOT

_SUFFIXES = (".md", ".txt")
_SHORTEST = 20


@dataclass(frozen=True, slots=True)
class _Document:
    topic: str
    language: str
    title: str
    passages: list[str]


def write_quick_data(documents: Path, folder: Path) -> list[str]:
    """Write ``train/`` and ``asym/`` under ``folder`` from the Markdown and text files of ``documents``.

    Sentences: an English document's passages with those of another language of the same sub-folder, in order;
    words: their titles; query to passage: a title or first words to each passage, and a passage to the next.

    Returns:
        Files that were left out, each with the reason.

    Raises:
        DataError: there is no such folder, or it has no sub-folder with an English and another document.
    """
    if not documents.is_dir():
        raise DataError(f"folder {documents} does not exist", hint="give a folder of documents, as samples/")
    left_out: list[str] = []
    read = list(_read(documents, left_out))
    lines: dict[str, list[tuple[str, str]]] = {}
    for english in (document for document in read if document.language == PIVOT):
        for other in read:
            if other.topic == english.topic and other.language != PIVOT:
                lines.setdefault(f"train/{other.language}.words", []).append((english.title, other.title))
                lines.setdefault(f"train/{other.language}", []).extend(
                    zip(english.passages, other.passages, strict=False)
                )
    if not lines:
        raise DataError(
            f"{documents} has no sub-folder with an English and another document to learn from",
            hint="put documents on one topic into one sub-folder, .md or .txt in UTF-8",
        )
    for document in read:
        pairs = [(document.title, passage) for passage in document.passages]
        pairs += [(" ".join(a.split()[:6]), b) for a, b in pairwise(document.passages)]
        lines.setdefault(f"asym/{document.language}-{document.language}", []).extend(pairs)
    for stem, pairs in lines.items():
        path = folder / f"{stem}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"documents\t{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return left_out


def _read(folder: Path, left_out: list[str]) -> Iterator[_Document]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in _SUFFIXES:
            left_out.append(f"{name}: not .md or .txt")
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            left_out.append(f"{name}: not UTF-8")
            continue
        blocks = [" ".join(block.split()) for block in text.split("\n\n")]
        passages = [block for block in blocks[1:] if len(block) >= _SHORTEST and not block.startswith("#")]
        if passages:
            title = blocks[0].lstrip("# ")
            yield _Document(path.parent.as_posix(), detect(text).code, title, passages)
        else:
            left_out.append(f"{name}: no paragraphs")
