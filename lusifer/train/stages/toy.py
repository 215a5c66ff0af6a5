"""A toy to try both stages on: two tiny random backbones, made-up examples and the tiny configurations.

Everything follows from the seed; nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lusifer.checkpoints.own import CONFIG, TOKENIZER
from lusifer.train.stages.model import quiet_transformers
from lusifer.train.stages.settings import CONFIGS

_PEOPLE = ("baker", "farmer", "teacher", "fisher", "tailor", "miller", "doctor", "painter")
_THINGS = ("bread", "apples", "books", "fish", "coats", "flour", "honey", "lamps")
_PLACES = ("at the market", "by the river", "in the old town", "near the station", "behind the school")
_DAYS = ("on Monday", "on Friday", "in spring", "every morning")
_INSTRUCTION = "Find the answer."
_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "initializer_range": 0.1,
}
_LANGUAGE_MODEL: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.1,
    "sliding_window": None,
}


def write_toy(folder: Path, *, examples: int = 320, seed: int = 1) -> list[Path]:
    """Write ``encoder/``, ``language-model/``, ``examples.jsonl`` and the tiny configurations.

    Args:
        folder: made if missing.
        examples: how many questions with passages.
        seed: of weights and examples.

    Returns:
        The configurations: alignment, then finetuning, which starts from what alignment leaves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = _records(examples, np.random.default_rng(seed))
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    (folder / "examples.jsonl").write_text("".join(lines), encoding="utf-8")
    texts = [_INSTRUCTION, *(str(record[name]) for record in records for name in ("query", "positive"))]
    _write_backbones(folder, texts, seed)
    written = [folder / "align.toml", folder / "finetune.toml"]
    for path in written:
        shutil.copyfile(CONFIGS / f"{path.stem}-tiny.toml", path)
    return written


def _records(count: int, rng: np.random.Generator) -> list[dict[str, object]]:
    facts = list(product(_PEOPLE, _THINGS, _PLACES, _DAYS))
    records: list[dict[str, object]] = []
    for place in rng.permutation(len(facts))[:count]:
        person, thing, where, when = facts[place]
        others = rng.permutation([item for item in _PLACES if item != where])[:2]
        record: dict[str, object] = {
            "query": f"Where does the {person} sell {thing} {when}?",
            "positive": f"The {person} sells {thing} {where} {when}.",
            "negative": [f"The {thing} of the {person} are kept {other}." for other in others],
            "instruction": _INSTRUCTION,
        }
        records.append(record)
    return records


def _write_backbones(folder: Path, texts: Sequence[str], seed: int) -> None:
    from transformers import MistralConfig, MistralForCausalLM, XLMRobertaConfig, XLMRobertaModel

    inner = _tokenizer(texts, ("<s>", "<pad>", "</s>", "<unk>"))
    outer = _tokenizer(texts, ("<unk>", "<s>", "</s>"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = XLMRobertaModel(XLMRobertaConfig(vocab_size=inner.get_vocab_size(), **_ENCODER))
        decoder = MistralForCausalLM(MistralConfig(vocab_size=outer.get_vocab_size(), **_LANGUAGE_MODEL))
    for name, model, tokenizer in (("encoder", encoder, inner), ("language-model", decoder, outer)):
        with quiet_transformers():
            model.save_pretrained(folder / name)
        tokenizer.save(str(folder / name / TOKENIZER))
        assert (folder / name / CONFIG).is_file()


def _tokenizer(texts: Sequence[str], special: Sequence[str]) -> Tokenizer:
    """Return a tokenizer of whole words, and letters for all others; it follows from its arguments alone.

    Args:
        texts: whose words are known.
        special: the first ids, ``<unk>`` among them.
    """
    words = sorted({word.strip(".?") for text in texts for word in text.split()})
    letters = sorted({letter for text in texts for letter in text if letter != " "})
    pieces = [(f"▁{word}", -1.0) for word in words] + [(word, -2.0) for word in words if len(word) > 1]
    pieces += [(letter, -9.0) for letter in ("▁", "\n", *letters)]
    model = models.Unigram([*((token, 0.0) for token in special), *pieces], special.index("<unk>"))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(special))
    return tokenizer
