"""What every transformer backend does with texts: prompt, tokens, batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

from lusifer.config import ModelConfig, PromptKind
from lusifer.tokenization import encode, warn_if_cut

#: Texts tokenised at once: bounds memory, and keeps every core of the tokenizer busy.
_BLOCK = 4096


def tokenise(
    tokenizer: Tokenizer, config: ModelConfig, texts: Sequence[str], kind: PromptKind, instruction: str = ""
) -> list[list[int]]:
    """Return the token ids a model reads: prompt included, cut at the end, not padded."""
    prompts, longest = config.prompts, config.max_tokens
    rows: list[list[int]] = []
    trimmed = 0
    for start in range(0, len(texts), _BLOCK):
        block = [prompts.render(kind, text, instruction) for text in texts[start : start + _BLOCK]]
        for encoding in encode(tokenizer, block):
            ids = encoding.ids
            trimmed += len(ids) > longest
            rows.append(ids[:longest])
    warn_if_cut(trimmed, longest, depth=2)
    return rows


def batches(rows: Sequence[Sequence[int]], budget: int, multiple: int = 1) -> Iterator[list[int]]:
    """Cut texts, sorted by falling length, into batches of at most ``budget`` padded tokens.

    Args:
        rows: token ids; empty ones are in no batch.
        budget: tokens in a batch, padding included; one text is a batch however long it is.
        multiple: lengths are rounded up to this.

    Yields:
        Places of the texts in ``rows``.
    """
    order = sorted((index for index, row in enumerate(rows) if row), key=lambda index: -len(rows[index]))
    start = 0
    while start < len(order):
        count = max(1, budget // (-(-len(rows[order[start]]) // multiple) * multiple))
        yield order[start : start + count]
        start += count
