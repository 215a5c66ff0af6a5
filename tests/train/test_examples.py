"""Training data: files, settings, order, prompts, masks, and the authors' batches."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import is_dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

from lusifer import ConfigError, DataError
from lusifer.checkpoints.published import read_published
from lusifer.model import additive_mask, pad
from lusifer.tokenization import load_tokenizer
from lusifer.train.stages import data as records
from lusifer.train.stages.collate import (
    ASK,
    RECONSTRUCT,
    Exercise,
    SourceTokens,
    TargetTokens,
    collate_alignment,
    draw_groups,
    make_exercise,
)
from lusifer.train.stages.data import Examples, Plan, Record, RecordFile, parse_record
from lusifer.train.stages.finetune import finetune
from lusifer.train.stages.settings import CONFIGS, AlignConfig, DataSettings, FinetuneConfig, LoraSettings

FOLDER = Path(__file__).parents[1] / "data" / "golden-tiny"
GOLDEN: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text(encoding="utf-8"))
ANSWER = "Given a question, retrieve passages that answer the question."
CATEGORY = "Identify the category of the following passages"


@pytest.fixture(scope="module")
def source() -> SourceTokens:
    return make_source(48)


def make_source(longest: int) -> SourceTokens:
    data = json.loads((FOLDER / "lusifer" / "config.json").read_text(encoding="utf-8"))
    _, config = read_published(FOLDER / "lusifer", data)
    config = replace(config, max_tokens=longest)
    return SourceTokens(config, load_tokenizer(FOLDER / "backbones" / "tiny-xlm-roberta" / "tokenizer.json"))


@pytest.fixture(scope="module")
def target() -> TargetTokens:
    from transformers import MistralConfig

    folder = FOLDER / "backbones" / "tiny-mistral"
    settings = MistralConfig.from_pretrained(folder)
    return TargetTokens.of(load_tokenizer(folder / "tokenizer.json"), settings, "<unk>")


def alignment(source: SourceTokens, target: TargetTokens, mask: float, seed: int = 0) -> Any:
    collator = GOLDEN["alignment_loss"]["collator"]
    rng = np.random.default_rng(seed)
    exercises = [
        Exercise(example["instruction"], example["query"], example["answer"])
        if "answer" in example
        else make_exercise(Record(example["query"]), "reconstruct", rng)
        for example in collator["examples"]
    ]
    return collate_alignment(
        exercises,
        source,
        target,
        pad_id=1,
        max_tokens=collator["max_seq_length"],
        mask_probability=mask,
        rng=rng,
    )


def test_alignment_batches_are_the_authors(source: SourceTokens, target: TargetTokens) -> None:
    batch = alignment(source, target, 0.0)
    recorded = GOLDEN["alignment_loss"]["cases"][0]["inputs"]
    assert batch.input_ids.tolist() == recorded["universal_learner_input_ids"]
    assert batch.attention_mask.tolist() == recorded["universal_learner_attention_mask"]
    assert batch.lm_input_ids.tolist() == recorded["lm_input_ids"]
    assert batch.lm_attention_mask.tolist() == recorded["lm_attention_mask"]
    assert batch.labels.tolist() == recorded["lm_labels"]


def test_masks_fall_on_the_language_models_side_alone(source: SourceTokens, target: TargetTokens) -> None:
    plain = alignment(source, target, 0.0)
    replaced = hidden = both = real = 0
    for seed in range(40):
        batch = alignment(source, target, 0.5, seed)
        assert torch.equal(batch.input_ids, plain.input_ids)
        assert torch.equal(batch.attention_mask, plain.attention_mask)
        assert torch.equal(batch.labels, plain.labels), "every token is learnt, masked or not"
        tokens = plain.lm_attention_mask.bool()
        changed = batch.lm_input_ids != plain.lm_input_ids
        assert not changed[~tokens].any(), "padding stays"
        assert (batch.lm_input_ids[changed] == 0).all()
        unseen = tokens & (batch.lm_attention_mask == 0)
        assert not batch.lm_attention_mask[~tokens].any()
        replaced, hidden = replaced + int(changed.sum()), hidden + int(unseen.sum())
        both, real = both + int((changed & unseen).sum()), real + int(tokens.sum())
    assert replaced / real == pytest.approx(0.5, abs=0.03)
    assert hidden / real == pytest.approx(0.5, abs=0.03)
    assert both / real == pytest.approx(0.25, abs=0.03)


def test_finetuning_batches_are_the_authors() -> None:
    recorded = GOLDEN["rep_learning_collator"]["batch"]
    chosen = [
        Record(
            "Which city is the capital of Finland?",
            ("The river was calm before sunrise.",),
            (
                "My sister repairs old radios in her garage.",
                "Rain is expected across the northern valley tomorrow.",
            ),
            ANSWER,
        ),
        Record(
            "He forgot his umbrella on the train again.",
            ("The committee approved a new budget for the school.",),
            (
                "Scientists measured the temperature of the lake every hour.",
                "The recipe needs two eggs and a cup of flour.",
            ),
            CATEGORY,
        ),
    ]
    groups = draw_groups(chosen, 1, 2, np.random.default_rng(0))
    rows = make_source(GOLDEN["rep_learning_collator"]["max_seq_length"])(
        [text for group in groups for text in group.texts()]
    )
    ids, mask = (part.reshape(2, 4, -1) for part in pad(rows, 1))
    for tensor, name in ((ids, "input_ids"), (mask, "attention_mask")):
        assert tensor[:, 0].tolist() == recorded[f"query_{name}"]
        assert tensor[:, 1:2].tolist() == recorded[f"pos_{name}"]
        wanted = [sorted(rows) for rows in recorded[f"neg_{name}"]]
        assert [sorted(rows) for rows in tensor[:, 2:].tolist()] == wanted, "negatives come in any order"


def test_a_batch_has_as_many_texts_as_its_poorest_record() -> None:
    chosen = [Record("a", ("1", "2"), tuple("xyz")), Record("b", ("3",), tuple("vw"))]
    groups = draw_groups(chosen, 4, 7, np.random.default_rng(0))
    assert [(len(group.positives), len(group.negatives)) for group in groups] == [(1, 2), (1, 2)]
    drawn = {tuple(draw_groups(chosen, 1, 1, np.random.default_rng(seed))[0].negatives) for seed in range(20)}
    assert drawn == {("x",), ("y",), ("z",)}


@pytest.mark.parametrize(
    ("task", "shares"),
    [
        ("reconstruct", {"query to itself": 1.0}),
        ("query_to_passage", {"query to itself": 0.10, "query to passage": 0.90}),
        (
            "passage_to_query",
            {"query to passage": 0.30, "passage to itself": 0.28, "passage to query": 0.42},
        ),
    ],
)
def test_exercises_come_in_the_authors_mixture(task: Any, shares: dict[str, float]) -> None:
    record = Record("why", ("because",), instruction="Answer")
    kinds = {
        (RECONSTRUCT, "why", f"{RECONSTRUCT}.\nwhy"): "query to itself",
        ("Answer", "why", "Answer.\nwhy"): "query to itself",
        ("Answer", "why", "because"): "query to passage",
        (RECONSTRUCT, "because", f"{RECONSTRUCT}.\nbecause"): "passage to itself",
        (ASK, "because", "why"): "passage to query",
    }
    rng = np.random.default_rng(1)
    made = [make_exercise(record, task, rng) for _ in range(3000)]
    found = Counter(kinds[item.instruction, item.source, item.target] for item in made)
    assert {kind: count / 3000 for kind, count in found.items()} == pytest.approx(shares, abs=0.03)


def test_records_are_read_by_number(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(
        '{"text": "köyhä"}\n\n'
        '{"query": "q", "positive": "p", "negative": ["n", "m"], "cluster": 3, '
        '"in_batch_negatives": false}\n',
        encoding="utf-8",
    )
    rows = RecordFile(path, None, lambda _: None)
    assert [rows[number] for number in (1, 0)] == [
        Record("q", ("p",), ("n", "m"), cluster="3", in_batch_negatives=False),
        Record("köyhä"),
    ]
    assert len(RecordFile(path, 1, lambda _: None)) == 1
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="was changed while it was in use"):
        rows[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xff", "not UTF-8"),
        (b'{"query": ', "not JSON"),
        (b'["query"]', "not a JSON object"),
        (b'{"querry": "a"}', "the field 'querry' is unknown"),
        (b'{"positive": "a"}', "needs one of the fields 'query' and 'text'"),
        (b'{"query": "a", "text": "b"}', "needs one of the fields"),
        (b'{"query": 3}', "'query' is 3, not a string"),
        (b'{"query": " "}', "text is empty"),
        (b'{"query": "a", "positive": [1]}', "'positive' is neither a string nor a list"),
        (b'{"query": "a", "negative": ["b", ""]}', "'negative' holds an empty text"),
        (b'{"query": "a", "cluster": 1.5}', "'cluster' is 1.5"),
        (b'{"query": "a", "in_batch_negatives": 1}', "'in_batch_negatives' is 1, not true or false"),
    ],
)
def test_bad_lines_are_named(line: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        parse_record(line)
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"query": "good"}\n' + line + b"\n")
    with pytest.raises(DataError, match=rf"bad\.jsonl, line 2: .*{said}"):
        RecordFile(path, None, lambda _: None)


def test_records_a_stage_cannot_use_are_named(configure: Any, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    for line, said in (
        ('{"query": "a"}', "line 1: finetuning needs the field 'positive'"),
        ('{"query": "a", "positive": "b"}', "line 1: the field 'negative' is missing"),
    ):
        path.write_text(line, encoding="utf-8")
        with pytest.raises(DataError, match=said):
            finetune(configure(FinetuneConfig, data=[{"path": str(path)}]), lambda _: None)
    path.write_text('{"query": "a", "positive": "b", "in_batch_negatives": false}', encoding="utf-8")
    with pytest.raises(DataError, match="without in-batch negatives"):
        finetune(
            configure(FinetuneConfig, data=[{"path": str(path)}], finetune={"hard_negatives": 0}),
            lambda _: None,
        )
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no records"):
        finetune(configure(FinetuneConfig, data=[{"path": str(path)}]), lambda _: None)
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read"):
        finetune(configure(FinetuneConfig, data=[{"path": str(tmp_path / "none.jsonl")}]), lambda _: None)


def test_batches_keep_files_and_clusters_together() -> None:
    groups = [np.repeat(np.arange(5), 8), np.zeros(22, np.int64)]
    plan = Plan(groups, 8, seed=3, together=True)
    assert plan.steps_per_epoch == 7
    batches = [plan[step].tolist() for step in range(7)]
    assert max(Counter(chain(*batches)).values()) == 1, "no record twice in an epoch"
    pure = [batch for batch in batches if max(batch) < 40]
    assert len(pure) == 5
    assert all(len({number // 8 for number in batch}) == 1 for batch in pure), "a batch is a cluster"
    assert sum(min(batch) >= 40 for batch in batches) == 2
    again = Plan(groups, 8, seed=3, together=True)
    assert [again[step].tolist() for step in (9, 2)] == [plan[step].tolist() for step in (9, 2)]
    assert {tuple(plan[step]) for step in range(7)} != {tuple(plan[step]) for step in range(7, 14)}
    mixed = Plan(groups, 8, seed=3, together=False)
    assert any(min(mixed[step]) < 40 <= max(mixed[step]) for step in range(7))
    with pytest.raises(DataError, match="holds 62 records, a batch takes 63"):
        Plan(groups, 63, seed=3, together=True)


def test_steps_follow_epochs_unless_they_are_set(configure: Any) -> None:
    for changes, steps in (({"steps": 9}, 9), ({"steps": 1000, "epochs": 2}, 32)):
        config = configure(AlignConfig, optimiser=changes)
        assert Examples(config, lambda *_: None, together=False).steps == steps


def test_ready_configurations_are_the_papers() -> None:
    first = AlignConfig.read(CONFIGS / "align-xlmr-large-mistral-7b.toml")
    second = FinetuneConfig.read(CONFIGS / "finetune-xlmr-large-mistral-7b.toml")
    for config, rate, epochs in ((first, 1.5e-4, 2), (second, 5e-5, 1)):
        optimiser = config.optimiser
        assert (optimiser.batch, optimiser.learning_rate, optimiser.epochs) == (256, rate, epochs)
        assert (optimiser.warmup, optimiser.weight_decay, optimiser.clip) == (0.1, 0.01, 1.0)
        assert (config.train.lora.rank, config.train.lora.alpha, config.train.lora.dropout) == (16, 32, 0.1)
        assert config.hardware.precision == "bf16"
    assert (first.train.encoder, first.train.language_model) == ("lora", "frozen")
    assert (first.alignment.mask_probability, first.model.added_tokens) == (0.5, 1)
    assert (second.train.encoder, second.train.language_model) == ("lora", "lora")
    assert (second.finetune.hard_negatives, second.finetune.temperature) == (7, 0.05)
    assert sum(item.limit or 0 for item in second.data) == 606_320, "table 4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "is not TOML"),
        ('name = "a"\nrun = "b"\n[model]\nencoder = "x"\nlanguage_model = "y"', "no data is named"),
        ('run = "b"\n[model]\nencoder = "x"\nlanguage_model = "y"', "field name is missing"),
        ('name = "a"\nrun = "b"\n[model]', "names nothing to start from"),
        ('name = "a"\nrun = "b"\n[model]\nstart = "x"\nencoder = "y"', "both set"),
        ('name = "a"\nrun = "b"\n[model]\nstart = "x"', "language_model is missing"),
        (
            'name = "a"\nrun = "b"\n[model]\nencoder = "x"\nlanguage_model = "y"\n[train.lora]\nrank = 0',
            "rank is 0",
        ),
        (
            'name = "a"\nrun = "b"\n[model]\nencoder = "x"\nlanguage_model = "y"\n[optimiser]\nbatch = 0',
            "optimiser.batch is 0",
        ),
        (
            'name = "a"\nrun = "b"\n[model]\nencoder = "x"\nlanguage_model = "y"\n[alignment]\ncasual = true',
            "unknown field alignment.casual",
        ),
    ],
)
def test_bad_settings_are_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    data = "" if "no data" in said else '\n[[data]]\npath = "d.jsonl"\n'
    path.write_text(text + data, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        AlignConfig.read(path)
    assert str(path) in caught.value.message
    with pytest.raises(ConfigError, match="cannot be read"):
        AlignConfig.read(tmp_path / "none.toml")


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = tmp_path / "run.toml"
    path.write_text(
        'name = "a"\nrun = "runs/a"\n[model]\nencoder = "here"\nlanguage_model = "owner/there"\n'
        '[[data]]\npath = "d.jsonl"\n',
        encoding="utf-8",
    )
    config = AlignConfig.read(path)
    assert config.model.encoder == str(tmp_path / "here")
    assert config.model.language_model == "owner/there"
    assert config.run == str(tmp_path / "runs" / "a")
    assert config.data[0].path == str(tmp_path / "d.jsonl")


def test_additive_masks_hide_padding_and_the_future() -> None:
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]])
    both = additive_mask(mask, torch.float32)[:, 0] == 0
    assert both.tolist() == [[[True, False, True]] * 3, [[False, True, True]] * 3]
    causal = additive_mask(mask, torch.bfloat16, causal=True)[:, 0] == 0
    assert causal[0].tolist() == [[True, False, False], [True, False, False], [True, False, True]]
    assert causal[1].tolist() == [[False] * 3, [False, True, False], [False, True, True]]
    assert torch.isfinite(additive_mask(mask, torch.bfloat16, causal=True)).all()


def test_every_setting_and_field_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    names = set(records.FIELDS)
    for kind in (AlignConfig, FinetuneConfig):
        hints = get_type_hints(kind)
        names |= hints.keys()
        for inner in (DataSettings, LoraSettings, *filter(is_dataclass, hints.values())):
            names |= get_type_hints(inner).keys()
    named = set(re.findall(r"`\[*(?:train\.)?([a-z_12]+)\]*`", page)) | {"data", "model"}
    assert names - named == set()
