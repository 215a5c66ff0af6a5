"""The training of lusifer-small on a tiny encoder: source, vocabulary, steps, resumption, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import XLMRobertaConfig, XLMRobertaModel
from typer.testing import CliRunner

from lusifer import Embedder
from lusifer.checkpoints.weights import unpack_rows
from lusifer.errors import TrainingError
from lusifer.tokenization import encode
from lusifer.train import small as trainer
from lusifer.train.cli import app
from lusifer.train.small import train_small
from lusifer.train.small.export import export_small, pack_rows
from lusifer.train.small.source import (
    SPECIAL,
    Source,
    build_model,
    build_tokenizer,
    choose_pieces,
    count_pieces,
    cut_tokenizer,
    read_source,
    vocabulary_of,
)
from lusifer.train.small.texts import RECIPES, SmallRecipe, read_corpus

ENGLISH = [
    "rain",
    "falls",
    "on",
    "the",
    "old",
    "town",
    "and",
    "the",
    "river",
    "rises",
    "over",
    "its",
    "banks",
    "every",
    "spring",
]
FRENCH = [
    "la",
    "pluie",
    "tombe",
    "sur",
    "la",
    "vieille",
    "ville",
    "et",
    "le",
    "fleuve",
    "monte",
    "au",
    "printemps",
    "chaque",
    "année",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with an encoder of two layers."""
    folder = tmp_path_factory.mktemp("tiny")
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzéà:,.?!0123456789▁"))
    pieces = [(token, 0.0) for token in SPECIAL]
    pieces += [(letter, -8.0) for letter in letters]
    pieces += [(f"▁{word}", -4.0) for word in dict.fromkeys(["query", "passage", *ENGLISH, *FRENCH])]
    pieces += [("▁xylo", -5.0), ("ß", -9.0), ("ing", -5.0)]
    build_tokenizer(pieces, 3).save(str(folder / "tokenizer.json"))
    torch.manual_seed(3)
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False)
    save_file(
        {name: value.numpy() for name, value in model.state_dict().items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "model_type": "xlm-roberta"}))
    return folder


@pytest.fixture
def source(weights: Path) -> Source:
    return read_source(str(weights))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few sentences, passages, questions and headings in English and French, and one of them in dev."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)

    def text(words: list[str], count: int) -> str:
        return " ".join(str(word) for word in rng.choice(words, count))

    def write(name: str, rows: list[tuple[str, ...]]) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")

    pairs = [("tico19", text(ENGLISH, 9), text(FRENCH, 9)) for _ in range(120)]
    write("train/fr.tsv", pairs)
    write("train/fr.words.tsv", [("dict", "river", "fleuve"), ("dict", "spring", "printemps")])
    for name, asks, tells in (
        ("en-en", ENGLISH, ENGLISH),
        ("fr-fr", FRENCH, FRENCH),
        ("en-fr", ENGLISH, FRENCH),
    ):
        write(f"questions/{name}.tsv", [("faq", text(asks, 6), text(tells, 25)) for _ in range(12)])
    write("questions/unpaired.fr.tsv", [("wiki", text(FRENCH, 5)) for _ in range(9)])
    dev = folder / "dev"
    dev.mkdir()
    (dev / "sib.jsonl").write_text(json.dumps({"en": pairs[0][1]}) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def recipe() -> SmallRecipe:
    return replace(
        SmallRecipe.read(RECIPES / "quick.toml"), vocabulary=70, passage_shortest=60, passage_longest=300
    )


def test_the_model_is_the_source_at_first(weights: Path, source: Source) -> None:
    ids = torch.tensor([[0, 9, 12, 30, 44, 2], [0, 5, 2, 1, 1, 1]])
    mask = (ids != 1).long()
    theirs = XLMRobertaModel.from_pretrained(weights, add_pooling_layer=False).eval()
    with torch.no_grad():
        states = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        for connector in (True, False):
            got = build_model(source, connector=connector).eval()(ids, mask).reps
            assert torch.allclose(got, wanted, atol=1e-5)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no config\.json"):
        read_source(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(TrainingError, match="is a gpt2"):
        read_source(str(tmp_path))


def test_a_cut_vocabulary_reads_whatever_the_whole_one_read(source: Source) -> None:
    pieces = vocabulary_of(source.tokenizer)
    count = np.zeros(len(pieces), np.int64)
    count_pieces(source.tokenizer, ["query: the river rises", "passage: la pluie tombe"], count)
    kept = choose_pieces(pieces, [count], most=60)
    cut = cut_tokenizer(source.tokenizer, kept)
    assert cut.get_vocab_size() == len(kept) < len(pieces)
    assert "▁xylo" not in cut.get_vocab()
    assert {"▁river", "▁pluie", "ß", *SPECIAL} <= cut.get_vocab().keys()
    for text in ("<s>query: the xylophone: 2,500 river</s>", "straße", "über", "<s>passage: la pluie</s>"):
        before, after = (encode(tokenizer, [text])[0] for tokenizer in (source.tokenizer, cut))
        assert after.tokens.count("<unk>") == before.tokens.count("<unk>")
        if text.endswith("pluie</s>"):
            assert [kept[id_] for id_ in after.ids] == before.ids


def test_numbers_of_four_bits_are_kept_without_loss() -> None:
    rng = np.random.default_rng(5)
    numbers = rng.integers(-8, 8, (50, 64)).astype(np.float32)
    numbers[:, ::32] = -8  # as the source's own blocks: the farthest number is -8
    factors = rng.normal(size=(50, 2)).astype(np.float16)
    table = (numbers.reshape(50, 2, 32) * factors[..., None].astype(np.float32)).reshape(50, 64)
    packed, found = pack_rows(table)
    assert np.array_equal(unpack_rows(packed, found.astype(np.float32)), table)


def test_training_text_is_chosen_and_dev_kept_out(data: Path, recipe: SmallRecipe) -> None:
    corpus = read_corpus(data, recipe)
    held_out = json.loads((data / "dev" / "sib.jsonl").read_text())["en"]
    assert set(corpus.sentences) == {"fr"}
    assert held_out not in {english for english, _ in corpus.sentences["fr"]}
    assert corpus.passages["fr"]
    assert all(len(english) >= 60 for english, _ in corpus.passages["fr"])
    assert {(a.question_language, a.passage_language) for a in corpus.asked} == {
        ("en", "en"),
        ("fr", "fr"),
        ("en", "fr"),
    }
    assert len(corpus.questions["fr"]) == 9


def test_a_run_goes_on_where_it_was_interrupted(
    data: Path, weights: Path, recipe: SmallRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_SPEAK_EVERY", 1)
    whole, tokenizer, _ = train_small(data, str(weights), tmp_path / "whole", recipe, report=lambda _: None)

    def stop(line: str) -> None:
        if line.startswith("step 6/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_small(data, str(weights), tmp_path / "parts", recipe, report=stop)
    lines: list[str] = []
    parts, again, texts = train_small(data, str(weights), tmp_path / "parts", recipe, report=lines.append)
    assert "going on from step 5" in lines
    assert again.get_vocab() == tokenizer.get_vocab()
    assert {kind for kind, _ in texts} == {"query", "document"}
    before = build_model(read_source(str(weights))).state_dict()["connector.ff.0.weight"]
    assert not torch.equal(whole.state_dict()["connector.ff.0.weight"], before)
    for (name, one), two in zip(whole.named_parameters(), parts.parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-5), name
    with pytest.raises(TrainingError, match="steps differ"):
        train_small(data, str(weights), tmp_path / "parts", replace(recipe, steps=9), report=print)


def test_a_quantised_model_runs_without_torch_and_with_it(source: Source, tmp_path: Path) -> None:
    model = build_model(source).eval()
    texts = [
        (kind, " ".join(words[start : start + 6]))
        for kind in ("query", "document")
        for words in (ENGLISH, FRENCH)
        for start in range(6)
    ]
    export_small(model, source.tokenizer, texts, tmp_path / "tiny")  # type: ignore[arg-type]
    quick = Embedder.load(tmp_path / "tiny")
    exact = Embedder.load(tmp_path / "tiny", dtype="float32")
    asked = ["the river rises", "la pluie tombe sur la ville", "old town", ""]
    got = quick.embed_query(asked)
    assert got.dtype == np.float32
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert (got * exact.embed_query(asked)).sum(axis=1).min() > 0.995
    with torch.no_grad():
        ids = torch.tensor([encode(source.tokenizer, ["<s>query: the river rises</s>"])[0].ids])
        wanted = torch.nn.functional.normalize(model(ids, torch.ones_like(ids)).reps)[0].numpy()
    assert got[0] @ wanted > 0.99
    # Fixed 8-bit factors: neighbours in a batch change nothing.
    alone = np.concatenate([quick.embed_query(text) for text in asked])
    assert np.abs(alone - got).max() < 1e-5
    assert quick.fingerprint == Embedder.load(tmp_path / "tiny").fingerprint
    stored = load_file(tmp_path / "tiny" / "model.safetensors")
    assert {tensor.dtype for name, tensor in stored.items() if name.endswith((".q8", ".q4"))} == {
        np.dtype("i1"),
        np.dtype("u1"),
    }


@pytest.mark.slow
def test_the_command_makes_a_model_of_a_folder_of_documents(weights: Path, tmp_path: Path) -> None:
    samples = Path(__file__).parents[2] / "samples"
    done = CliRunner().invoke(
        app, ["small", str(samples), "--from", str(weights), "--run", str(tmp_path / "run"), "--quick"]
    )
    assert done.exit_code == 0, done.output
    assert "step 8/8" in done.output
    model = Embedder.load(tmp_path / "run" / "model")
    assert model.embed_documents(["rain", "pluie"]).shape == (2, 32)
    assert (tmp_path / "run" / "log.jsonl").is_file()
