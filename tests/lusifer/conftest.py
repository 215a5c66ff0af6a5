"""A toy model for the tests of the model library: a few hundred pieces, a random table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from lusifer import Embedder
from lusifer.checkpoints.own import write_static
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig

WORDS = (
    "river",
    "city",
    "water",
    "book",
    "school",
    "rain",
    "sea",
    "food",
    "music",
    "law",
    "star",
    "farm",
    "computer",
    "travel",
    "health",
)
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
DIMENSIONS = 24


def build_tokenizer() -> Tokenizer:
    """Return a Unigram tokenizer over a few words and the Latin letters; everything else is unknown."""
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -3.0) for word in WORDS)]
    pieces += [(letter, -8.0) for letter in LETTERS] + [("▁", -9.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def build_config(vocabulary: int) -> ModelConfig:
    return ModelConfig(
        name="toy",
        encoder=EncoderConfig("token_table", vocabulary, DIMENSIONS),
        language_model=LanguageModelConfig(DIMENSIONS),
        max_tokens=32,
    )


@pytest.fixture
def toy_tokenizer() -> Tokenizer:
    return build_tokenizer()


@pytest.fixture(scope="session")
def toy_table() -> np.ndarray:
    rows = build_tokenizer().get_vocab_size()
    table = np.random.default_rng(7).standard_normal((rows, DIMENSIONS)).astype(np.float32)
    table[:2] = 0
    return table


@pytest.fixture(scope="session")
def toy_config(toy_table: np.ndarray) -> ModelConfig:
    return build_config(len(toy_table))


@pytest.fixture
def toy_folder(tmp_path: Path, toy_table: np.ndarray, toy_config: ModelConfig) -> Path:
    folder = tmp_path / "toy"
    write_static(folder, toy_table, build_tokenizer(), toy_config)
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, toy_table: np.ndarray, toy_config: ModelConfig) -> Embedder:
    folder = tmp_path_factory.mktemp("model") / "toy"
    write_static(folder, toy_table, build_tokenizer(), toy_config, quantise=None)
    return Embedder.load(folder)
