"""Text to token ids, for every kind of model: robust encoding, and one warning for what was cut.

Must not know vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from lusifer.errors import CheckpointError, TruncationWarning


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``, without any truncation or padding stored in it.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        # A third faster than Tokenizer.from_file, which parses while it reads.
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", hint="copy the whole checkpoint folder"
        ) from error
    return parse_tokenizer(content, str(path))


def parse_tokenizer(content: bytes, origin: str) -> Tokenizer:
    """Read the content of a ``tokenizer.json``; ``origin`` names it in the error, which is the same."""
    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the Rust side raises bare Exception
        raise CheckpointError(f"{origin} is damaged: {error}", hint="copy the file again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Tokenise texts as they are: no special tokens but those spelt out in them, nothing cut.

    Lone surrogates, which no tokenizer accepts, count as U+FFFD.
    """
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except (UnicodeEncodeError, TypeError):
        mended = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return tokenizer.encode_batch_fast(mended, add_special_tokens=False)


def warn_if_cut(count: int, longest: int, *, depth: int = 0) -> None:
    """Warn once about the texts of a call that were cut, ``depth`` calls further out than usual."""
    if count:
        noun = "text was" if count == 1 else "texts were"
        warnings.warn(
            f"{count} {noun} longer than {longest} tokens and cut; split long texts into chunks",
            TruncationWarning,
            stacklevel=5 + depth,
        )
