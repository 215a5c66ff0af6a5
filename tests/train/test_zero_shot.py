"""The zero-shot experiment on a tiny random English model, with the samples' English text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks.zero_shot.__main__ import summarise, to_markdown
from benchmarks.zero_shot.data import common_words, make_alignment_data, make_pair_data, read_english
from benchmarks.zero_shot.experiment import Experiment, Task, shorten
from benchmarks.zero_shot.models import (
    VARIANTS,
    EnglishModel,
    Variant,
    choose_what_learns,
    join,
    learned,
)
from benchmarks.zero_shot.training import ZeroShotSettings, align, finetune
from lusifer import ConfigError, DataError, Embedder, TrainingError
from lusifer.checkpoints.own import write_static
from lusifer.checkpoints.weights import save_tensors
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig
from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering, Questions
from lusifer.model import LanguageModel
from lusifer.sentence_transformers import SentenceTransformer
from lusifer.torch_backend import TorchBackend
from lusifer.train.stages.export import check_publishable
from lusifer.train.stages.model import EncoderPart, open_encoder
from lusifer.train.stages.settings import LoraSettings

SAMPLES = Path(__file__).parents[2] / "samples"
ENGLISH = (
    "education/remember-what-you-learn.md",
    "finance/emergency-fund.txt",
    "health/hand-washing.md",
    "history/the-printing-press.md",
    "home/smoke-alarms.md",
)
CPU = torch.device("cpu")
BERT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SETTINGS = ZeroShotSettings(
    align_steps=120, finetune_steps=12, texts=16, words=64, pairs=8, align_rate=1e-2, finetune_rate=3e-3
)


def quiet(_: str) -> None:
    pass


def foreign(text: str) -> str:
    """The text in a language of our own, whose words are the English ones backwards."""
    return " ".join(word[::-1] + "q" for word in re.findall(r"\w+", text.lower()))


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    text = "\n".join((SAMPLES / name).read_text(encoding="utf-8") for name in ENGLISH)
    found = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n", text)]
    return list(dict.fromkeys(part for part in found if 30 < len(part) < 110))


def words_of(texts: list[str]) -> list[str]:
    return sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})


def tokenizer_of(words: list[str]) -> Tokenizer:
    tokens = {word: number for number, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(tokens, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture(scope="module")
def english_folder(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-english"
    tokenizer = tokenizer_of(words_of(sentences))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **BERT)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for path, name in parts]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


@pytest.fixture(scope="module")
def english(english_folder: Path) -> EnglishModel:
    return EnglishModel(english_folder, CPU)


@pytest.fixture(scope="module")
def table_folder(
    sentences: list[str], english: EnglishModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The space of the English pieces, turned about; each foreign word lies near the English one."""
    folder = tmp_path_factory.mktemp("models") / "table"
    words = words_of(sentences)
    rng = np.random.default_rng(2)
    pieces = english.pieces.weight.numpy()[len(SPECIAL) :]
    rows = (pieces @ rng.normal(size=(32, 48))).astype(np.float32)
    near = rows + 0.2 * rows.std() * rng.normal(size=rows.shape).astype(np.float32)
    table = np.concatenate([np.zeros((len(SPECIAL), 48), np.float32), rows, near])
    tokenizer = tokenizer_of([*words, *(word[::-1] + "q" for word in words)])
    config = ModelConfig("table", EncoderConfig("token_table", *table.shape), LanguageModelConfig(48))
    write_static(folder, table, tokenizer, config)
    return folder


@pytest.fixture
def part(table_folder: Path) -> EncoderPart:
    return open_encoder(str(table_folder), torch.float32)


@pytest.fixture(scope="module")
def data(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("train", "asym", "dev"):
        (folder / name).mkdir()
    lines = [f"source\t{text}\t{foreign(text)}\n" for text in sentences]
    (folder / "train" / "fr.tsv").write_text("".join(lines), encoding="utf-8")
    pairs = [f"source\t{text[:25]}\t{text}\n" for text in sentences]
    (folder / "asym" / "en-en.tsv").write_text("".join(pairs), encoding="utf-8")
    rows = [json.dumps({"en": text, "fr": foreign(text)}) + "\n" for text in sentences[:5]]
    (folder / "dev" / "sib200.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


def make_task(sentences: list[str], data: Path, table: Path, english: Path, run: Path) -> Task:
    texts = {"en": sentences[:8], "fr": [foreign(text) for text in sentences[:8]]}
    paragraphs = {
        code: {f"{code}{row}": text for row, text in enumerate(group)} for code, group in texts.items()
    }
    questions = {
        (asked, answered): Questions(
            [str(row) for row in range(8)], texts[asked], [f"{answered}{row}" for row in range(8)]
        )
        for asked in texts
        for answered in texts
    }
    return Task(
        data=data,
        encoder=str(table),
        english=english,
        run=run,
        sentences=ParallelSentences(texts, []),
        questions=QuestionAnswering(paragraphs, questions),
        settings=replace(SETTINGS, align_steps=3, finetune_steps=2),
        device=CPU,
    )


def test_the_english_model_gives_its_own_vectors(
    english: EnglishModel, english_folder: Path, sentences: list[str]
) -> None:
    """Read through our language model class, as sentence-transformers would: special pieces, cut, mean."""
    texts = [*sentences[:6], " ".join(sentences[:4]), "unheard-of zzz"]
    expected = SentenceTransformer(english_folder).embed_documents(texts)
    np.testing.assert_allclose(english.embed_documents(texts), expected, atol=2e-6)


def test_a_model_around_a_bert_is_saved_and_loaded(
    english: EnglishModel, part: EncoderPart, sentences: list[str], tmp_path: Path
) -> None:
    model = join(part, english, 3)
    backend = TorchBackend(model, part.tokenizer, CPU)
    save_tensors(tmp_path, dict(model.named_parameters()), model.config, part.tokenizer)
    loaded = Embedder.load(tmp_path, device="cpu")
    expected = backend.embed(sentences[:5], "document")
    np.testing.assert_allclose(loaded.embed_documents(sentences[:5]), expected, atol=1e-6)
    alone = loaded.embed_documents(sentences[:1])
    np.testing.assert_allclose(alone[0], expected[0], atol=1e-6)
    with pytest.raises(ConfigError, match="kind token_table"):
        check_publishable(model.config)


def test_a_bert_sees_both_ways_only_and_has_layers(english: EnglishModel) -> None:
    reader: LanguageModel = english.reader
    inputs = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 5, dtype=torch.long)
    changed = inputs.clone()
    changed[0, 4] *= -1
    assert not torch.allclose(reader(inputs, mask)[0, 0], reader(changed, mask)[0, 0])
    mask[0, 4] = 0
    torch.testing.assert_close(reader(inputs, mask)[0, 0], reader(changed, mask)[0, 0])
    with pytest.raises(ConfigError, match="no causal form"):
        reader(inputs, mask, causal=True)
    with pytest.raises(ConfigError, match="layers is 0 for a bert"):
        LanguageModelConfig(32, kind="bert")


@pytest.mark.slow
def test_alignment_in_english_alone_carries_a_foreign_text_over(
    english: EnglishModel, part: EncoderPart, sentences: list[str]
) -> None:
    """Of a translation, the English model makes what it makes of the original, more than of other texts."""
    own = english.embed(sentences)
    model = join(part, english, 3)
    before = model.encoder.table.weight.clone()  # type: ignore[union-attr]
    backend = TorchBackend(model, part.tokenizer, CPU)

    def found() -> float:
        vectors = backend.embed([foreign(text) for text in sentences], "document")
        return float(((vectors @ own.numpy().T).argmax(1) == np.arange(len(sentences))).mean())

    data = make_alignment_data(sentences, own, english, part.tokenizer, model.config)
    choose_what_learns(model, Variant("aligned"), None, 1)
    untrained = found()
    losses = align(model, data, SETTINGS, quiet)
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    chance = 1 / len(sentences)
    assert untrained < 3 * chance
    assert found() > 6 * chance
    torch.testing.assert_close(model.encoder.table.weight, before, rtol=0, atol=0)  # type: ignore[union-attr]
    frozen = dict(english.reader.named_parameters())
    for name, value in model.language_model.named_parameters():
        assert torch.equal(value, frozen[name])


@pytest.mark.parametrize(
    ("variant", "lora", "expected"),
    [
        (Variant("connector"), None, {"connector"}),
        (Variant("lora"), LoraSettings(4, 8, 0.0), {"connector", "language_model"}),
        (Variant("encoder", encoder=True), None, {"connector", "encoder"}),
    ],
    ids=["connector", "lora", "encoder"],
)
def test_finetuning_moves_what_a_variant_says(
    variant: Variant,
    lora: LoraSettings | None,
    expected: set[str],
    english: EnglishModel,
    part: EncoderPart,
    sentences: list[str],
) -> None:
    model = join(part, english, 3)
    choose_what_learns(model, variant, lora, 1)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    pairs = make_pair_data([(text[:25], text) for text in sentences], part.tokenizer, model.config)
    losses = finetune(model, pairs, SETTINGS, quiet)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == expected
    assert moved <= learned(model).keys()
    assert all("lora" in name for name in moved if name.startswith("language_model"))
    assert not model.language_model.training


def test_words_in_common_are_the_same_stretch_of_text(english: EnglishModel, part: EncoderPart) -> None:
    """Known to both sides: all of it but the last word, which is the unknown piece of either."""
    counts = common_words(["Your hands, your zzz"], part.tokenizer, english)
    names = {
        (part.tokenizer.id_to_token(token), english.tokenizer.id_to_token(piece)): count
        for (token, piece), count in counts.items()
    }
    assert names == {("your", "your"): 2, ("hands", "hands"): 1, (",", ","): 1}


def test_text_of_the_evaluation_is_left_out(data: Path, sentences: list[str], tmp_path: Path) -> None:
    text = read_english(data, tmp_path / "english.json", characters=100, seed=1)
    short = {sentence for sentence in sentences if len(sentence) <= 100}
    assert set(text.sentences) == short - set(sentences[:5])
    assert {answer for _, answer in text.pairs}.isdisjoint(sentences[:5])
    assert read_english(tmp_path, tmp_path / "english.json", characters=1, seed=1) == text
    with pytest.raises(DataError, match="holds no English text"):
        read_english(tmp_path, tmp_path / "other.json", characters=100, seed=1)


@pytest.mark.slow
def test_the_experiment_goes_on_where_it_was(
    sentences: list[str], data: Path, table_folder: Path, english_folder: Path, tmp_path: Path
) -> None:
    task = make_task(sentences, data, table_folder, english_folder, tmp_path / "run")
    first = iter(Experiment(task, quiet).rows())
    begun = [next(first) for _ in range(4)]
    said: list[str] = []
    rows = list(Experiment(task, said.append).rows())
    assert [row["name"] for row in rows] == [
        "encoder alone",
        "English model alone",
        *(variant.name for variant in VARIANTS),
    ]
    assert rows[:4] == begun
    trained = [line.removeprefix("training: ") for line in said if line.startswith("training")]
    assert trained == [
        "finetuning only",
        "connector only, both stages",
        "aligned-with-encoder",
        "both stages, encoder trained too",
    ]
    assert list(Experiment(replace(task, run=tmp_path / "again"), quiet).rows()) == rows
    # The foreign words are unknown to the English model's own tokenizer, and near in the table.
    alone, before = (row["sentences"]["mean"] for row in rows[:2])
    assert alone == 1
    assert before < 0.5
    lines = to_markdown(rows).splitlines()
    assert sum(line.startswith("| both stages |") for line in lines) == 2
    assert summarise(rows[0])[0] == 1
    with pytest.raises(TrainingError, match=r"other settings \(align_rate differ\)"):
        Experiment(replace(task, settings=replace(task.settings, align_rate=1.0)), quiet)


def test_pools_are_cut_with_their_questions(sentences: list[str]) -> None:
    task = make_task(sentences, Path(), Path(), Path(), Path())
    few, asked = shorten(task.sentences, task.questions, 3, 2)
    assert few.texts["fr"] == task.sentences.texts["fr"][:3]
    assert list(asked.paragraphs["en"]) == ["en0", "en1"]
    assert asked.questions["en", "fr"].relevant == ["fr0", "fr1"]
    assert shorten(task.sentences, task.questions, 0, 0) == (task.sentences, task.questions)


def test_models_that_do_not_fit_are_refused(
    english_folder: Path, english: EnglishModel, toy: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="the encoder is no token table"):
        join(open_encoder(str(toy / "encoder"), torch.float32), english, 1)
    for path in english_folder.rglob("*"):
        target = tmp_path / path.relative_to(english_folder)
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(ConfigError, match="pools by cls"):
        EnglishModel(tmp_path, CPU)
