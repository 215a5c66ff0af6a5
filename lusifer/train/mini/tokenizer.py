"""Train the Unigram tokenizer of lusifer-mini and say how it normalises text.

Takes strings, gives a ``tokenizers.Tokenizer``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from common.languages import OPTIONAL_MARKS, SPELLINGS, ZEROS
from lusifer.errors import TrainingError

PAD, UNK = "<pad>", "<unk>"


def build_normalizer() -> normalizers.Normalizer:
    """Return the text normalisation of lusifer-mini, done in Rust inside the tokenizer.

    NFKC and lower case, then the spelling variants that mean nothing to a searcher: Arabic and Persian
    forms of kaf, yeh, heh and alef, Russian io, optional marks, the zero-width non-joiner as a word bound,
    and the digits of other scripts.
    """
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(f"[{OPTIONAL_MARKS}\u200d-\u200f\u00ad\u2060\ufeff]"), ""),
            normalizers.Replace("\u200c", " "),
            *(_replace(spelling.swapped, spelling.tokenizer) for spelling in SPELLINGS if spelling.swapped),
            *(_replace("".join(chr(ord(zero) + digit) for zero in ZEROS), str(digit)) for digit in range(10)),
        ]
    )


def _replace(letters: str, target: str) -> normalizers.Normalizer:
    others = letters.replace(target, "")
    return normalizers.Replace(others if len(others) == 1 else Regex(f"[{others}]"), target)


def build_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Return the split into words: at white space and around punctuation marks, ``▁`` before every word."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, threads: int = 2) -> Tokenizer:
    """Train a Unigram tokenizer (Kudo 2018).

    SentencePiece finds the pieces: the trainer in ``tokenizers`` seeds its candidates from distinct words
    without their counts, and lost common words such as "winter" in a vocabulary of 98,304.

    Args:
        texts: the training sample, balanced over languages by the caller.
        vocabulary: number of pieces, the two special ones (padding 0, unknown 1) included.
        threads: for the expectation step.

    Raises:
        TrainingError: the sample is too small for the vocabulary asked for.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise TrainingError(
            "sentencepiece is not installed", hint="install the extra: pip install 'lusifer-search[train]'"
        ) from error
    normalizer, splitter = build_normalizer(), build_pre_tokenizer()
    words = (
        " ".join(
            word.removeprefix("▁") for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
        )
        for text in texts
    )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=words,
            model_writer=model,
            model_type="unigram",
            vocab_size=vocabulary,
            character_coverage=0.9999,
            max_sentencepiece_length=20,
            max_sentence_length=20_000,
            normalization_rule_name="identity",
            split_digits=False,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=PAD,
            unk_piece=UNK,
            num_threads=threads,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise TrainingError(
            f"the tokenizer could not be trained: {error}",
            hint=f"give more text or ask for fewer than {vocabulary} pieces",
        ) from error
    return _convert(model.getvalue(), normalizer, splitter)


def _convert(
    model: bytes, normalizer: normalizers.Normalizer, splitter: pre_tokenizers.PreTokenizer
) -> Tokenizer:
    """Move the pieces and their log probabilities into a Rust tokenizer that can be shipped as JSON."""
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(pieces.get_piece_size())]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=1, byte_fallback=False))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    return tokenizer
