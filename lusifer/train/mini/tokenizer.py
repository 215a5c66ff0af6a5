"""The Unigram tokenizer of lusifer-mini: how it normalises text, and its training."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from common.languages import OPTIONAL_MARKS, SPELLINGS, ZEROS
from lusifer.errors import TrainingError, needs_extra
from lusifer.train.mini.corpus import TRANSLATED, find_tsv, read_tsv

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
    with needs_extra("train", "training a tokenizer"):
        import sentencepiece
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


def make_tokenizer(folder: Path, path: Path, *, vocabulary: int, per_language: int, seed: int) -> Tokenizer:
    """Load the tokenizer at ``path``, or train it from the data folder and save it there."""
    if not path.is_file():
        texts = _sample_texts(folder, per_language=per_language, seed=seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        train_tokenizer(texts, vocabulary=vocabulary).save(str(path))
    return Tokenizer.from_file(str(path))


def _sample_texts(folder: Path, *, per_language: int, seed: int) -> Iterator[str]:
    """Yield a sample for the tokenizer, balanced over languages: sentences, words, passages.

    English is met thirteen times as the other side, so each file gives a sixth as much of it.
    """
    for language in TRANSLATED:
        for stem, share in ((language, 1.0), (f"{language}.words", 0.5)):
            path = find_tsv(folder / "train", stem)
            if path is None:
                continue
            pairs = list(read_tsv(path))
            random.Random(f"{seed} {stem}").shuffle(pairs)
            wanted = int(per_language * share)
            yield from (pair.right for pair in pairs[:wanted])
            yield from (pair.left for pair in pairs[: wanted // 6])
        path = find_tsv(folder / "asym", f"{language}-{language}")
        if path is not None:
            yield from (pair.right for pair in islice(read_tsv(path), per_language // 10))
