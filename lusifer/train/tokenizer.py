"""Train the Unigram tokenizer of lusifer-mini and say how it normalises text.

Takes strings, gives a ``tokenizers.Tokenizer``. Must not know models or losses.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

PAD, UNK = "<pad>", "<unk>"

#: Marks that writers leave out or add at will: Arabic vowel signs and tatweel, the Hindi nukta, joiners,
#: soft hyphens and direction marks.
_OPTIONAL_MARKS = "[\u0610-\u061a\u0640\u064b-\u065f\u0670\u093c\u200d-\u200f\u00ad\u2060\ufeff]"


def build_normalizer() -> normalizers.Normalizer:
    """Return the text normalisation of lusifer-mini, done in Rust inside the tokenizer.

    NFKC and lower case, then the spelling variants that mean nothing to a searcher: Arabic and Persian
    forms of kaf, yeh, heh and alef, Russian io, optional marks, the zero-width non-joiner as a word bound.
    """
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(_OPTIONAL_MARKS), ""),
            normalizers.Replace("\u200c", " "),
            normalizers.Replace(Regex("[أإآٱ]"), "ا"),
            normalizers.Replace(Regex("[يى]"), "ی"),
            normalizers.Replace("ك", "ک"),
            normalizers.Replace("ة", "ه"),
            normalizers.Replace("ё", "е"),
        ]
    )


def train_tokenizer(texts: Iterator[str], *, vocabulary: int) -> Tokenizer:
    """Train a Unigram tokenizer (Kudo 2018) with punctuation split off and ``▁`` before each word.

    Args:
        texts: the training sample, balanced over languages by the caller.
        vocabulary: number of pieces, the two special ones (padding 0, unknown 1) included.
    """
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = build_normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    trainer = UnigramTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(PAD, normalized=False), AddedToken(UNK, normalized=False)],
        unk_token=UNK,
        max_piece_length=18,
        shrinking_factor=0.7,
        n_sub_iterations=1,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.Sequence([])
    return tokenizer
