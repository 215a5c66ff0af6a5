"""``lusifer embed``: lines of text in, an array of vectors out."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from app.cli import ModelOption
from common.errors import HintedError

if TYPE_CHECKING:
    from lusifer.embedder import TextEmbedder

Kind = Literal["query", "document"]


def embed(
    kind: Annotated[
        Kind, typer.Option("--as", help="What the lines are: the model treats them differently.")
    ],
    model: ModelOption = None,
) -> None:
    """Embed lines of standard input; write an array in NumPy's .npy format to standard output."""
    from app.settings import Settings
    from common.settings import load_settings

    if sys.stdout.isatty():
        raise HintedError("Vectors are binary and would garble a terminal", hint="Add '> vectors.npy'.")
    settings = load_settings(Settings, model=model)
    lines = read_lines(sys.stdin.buffer)
    write_vectors(settings.load_model(), kind, lines, sys.stdout.buffer)


def read_lines(stream: BinaryIO) -> list[str]:
    """Read the lines of a stream, an empty one too, without their ends.

    Raises:
        HintedError: a line is not UTF-8; names it.
    """
    lines = []
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise HintedError(f"Line {number} is not UTF-8 text", hint="Convert the file first.") from None
        lines.append(text.removesuffix("\n").removesuffix("\r"))
    return lines


def write_vectors(model: TextEmbedder, kind: Kind, lines: list[str], stream: BinaryIO) -> None:
    """Embed lines and write one row for each."""
    import numpy as np

    embed_lines = model.embed_query if kind == "query" else model.embed_documents
    vectors = embed_lines(lines) if lines else np.empty((0, model.dimensions), np.float32)
    # np.save asks a file for its position, which a pipe has not.
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    stream.write(buffer.getbuffer())
    stream.flush()
