"""``lusifer embed``: lines of text in, an array of vectors out."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from app.cli.options import ModelOption, make_settings

if TYPE_CHECKING:
    from search.embedding import Embedding

Kind = Literal["query", "document"]


def embed(
    kind: Annotated[
        Kind, typer.Option("--as", help="What the lines are: the model treats them differently.")
    ],
    model: ModelOption = None,
) -> None:
    """Embed lines of standard input; write an array in NumPy's .npy format to standard output."""
    from app.problems import AppError

    if sys.stdout.isatty():
        raise AppError("Vectors are binary and would garble a terminal", hint="Add '> vectors.npy'.")
    settings = make_settings(model=model)
    lines = read_lines(sys.stdin.buffer)

    from search.index import load_model

    write_vectors(load_model(settings), kind, lines, sys.stdout.buffer)


def read_lines(stream: BinaryIO) -> list[str]:
    """Read the lines of a stream, an empty one too, without their ends.

    Raises:
        AppError: a line is not UTF-8; names it.
    """
    from app.problems import AppError

    lines = []
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise AppError(f"Line {number} is not UTF-8 text", hint="Convert the file first.") from None
        lines.append(text.removesuffix("\n").removesuffix("\r"))
    return lines


def write_vectors(model: Embedding, kind: Kind, lines: list[str], stream: BinaryIO) -> None:
    """Embed lines and write one row for each."""
    import numpy as np

    embed_lines = model.embed_query if kind == "query" else model.embed_documents
    vectors = embed_lines(lines) if lines else np.empty((0, model.dimensions), np.float32)
    # np.save asks a file for its position, which a pipe has not.
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    stream.write(buffer.getbuffer())
    stream.flush()
