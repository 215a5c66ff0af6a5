"""Training of lusifer-mini: the corpus, the batches, the loss, a whole small run."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from common.languages import CODES
from lusifer.embedder import Embedder
from lusifer.errors import ConfigError, DataError, TrainingError
from lusifer.evaluate.retrieval import ranks, recall_at
from lusifer.train.cli import app
from lusifer.train.losses import all_pairs_loss, teacher_loss
from lusifer.train.mini.batches import Sampler, gather
from lusifer.train.mini.corpus import Overlap, Pair, clean, hash_key, normalise_key, read_tsv
from lusifer.train.mini.prepare import (
    Side,
    drop_some_accents,
    load_set,
    pivot_pairs,
    prepare,
    without_accents,
)
from lusifer.train.mini.recipe import RECIPES, Recipe
from lusifer.train.mini.table import RowAdam, TeacherVectors, encode
from lusifer.train.mini.tokenizer import build_normalizer, train_tokenizer
from lusifer.train.mini.trainer import export_mini, train_mini, weigh_tokens, whitening
from lusifer.train.run import learning_rate

PARALLEL = Path(__file__).parents[1] / "data" / "parallel.jsonl"
SMALL = Recipe(
    vocabulary=1400, dimensions=64, steps=400, batch_sentences=40, batch_passages=40, share_words=0.0
)


@pytest.fixture(scope="module")
def sentences() -> dict[str, list[str]]:
    rows = [json.loads(line) for line in PARALLEL.read_text(encoding="utf-8").splitlines()]
    return {code: [row[code] for row in rows] for code in CODES}


@pytest.fixture(scope="module")
def folder(sentences: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in the documented layout, made of the project's own parallel sentences."""
    root = tmp_path_factory.mktemp("data")
    for name in ("train", "asym"):
        (root / name).mkdir()
    for code in CODES[1:]:
        rows = zip(sentences["en"], sentences[code], strict=True)
        (root / "train" / f"{code}.tsv").write_text("".join(f"own\t{a}\t{b}\n" for a, b in rows), "utf-8")
        rows = zip(sentences[code], sentences[code][1:], strict=False)
        text = "".join(f"own\t{a.split()[0]} {a.split()[-1]}\t{a} {b}\n" for a, b in rows)
        (root / "asym" / f"{code}-{code}.tsv").write_text(text, "utf-8")
    return root


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three steps: tokenizer, token arrays, checkpoint, log."""
    path = tmp_path_factory.mktemp("run")
    train_mini(folder, path, replace(SMALL, steps=3), report=lambda _: None)
    return path


@pytest.mark.slow
def test_a_small_run_learns_to_cross_languages(
    folder: Path, run: Path, sentences: dict[str, list[str]], tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((run / "tokenizer.json").read_bytes())
    table, tokenizer = train_mini(folder, tmp_path, SMALL, report=lambda _: None)
    export_mini(table, tokenizer, tmp_path / "model")
    model = Embedder.load(tmp_path / "model")
    target = np.arange(len(sentences["en"]))
    for code in ("fi", "ar", "ko", "te", "sw"):
        scores = model.embed_query(sentences[code]) @ model.embed_documents(sentences["en"]).T
        assert recall_at(ranks(scores, target), 1) > 0.8, code
    scores = model.embed_query(sentences["hi"]) @ model.embed_documents(sentences["vi"]).T
    # Some of the Vietnamese texts lost their accents, and with them the pieces of their words.
    assert recall_at(ranks(scores, target), 1) > 0.7, "languages that meet only through English"


def test_a_finished_run_is_kept_and_another_recipe_refused(folder: Path, run: Path) -> None:
    plan = replace(SMALL, steps=3)
    before = (run / "log.jsonl").read_text()
    train_mini(folder, run, plan, report=lambda _: None)
    assert (run / "log.jsonl").read_text() == before
    with pytest.raises(TrainingError, match=r"learning_rate differ"):
        train_mini(folder, run, replace(plan, learning_rate=0.5), report=lambda _: None)


def test_an_interrupted_run_goes_on_where_it_was(folder: Path, run: Path, tmp_path: Path) -> None:
    plan = replace(SMALL, steps=6, checkpoint_minutes=0.0)

    class StopError(Exception):
        pass

    def stop_after_some(line: str) -> None:
        if line.startswith("step"):
            raise StopError

    (tmp_path / "tokenizer.json").write_bytes((run / "tokenizer.json").read_bytes())
    with pytest.raises(StopError):
        train_mini(folder, tmp_path, plan, report=stop_after_some)
    lines: list[str] = []
    train_mini(folder, tmp_path, plan, report=lines.append)
    assert any(line.startswith("going on from step") for line in lines)


def test_clean_drops_what_cannot_teach(tmp_path: Path) -> None:
    path = tmp_path / "ru.tsv"
    rows = [
        ("good", "The cat sleeps on the sofa", "Кошка спит на диване"),
        ("twice", "The cat sleeps on the SOFA.", "Кошка спит на диване!"),
        ("latin", "The dog", "The dog in Latin letters"),
        ("same", "Linux", "Linux"),
        ("ratio", "A long English sentence of many words that goes on and on", "Да"),
        ("dev", "This sentence is kept for measuring", "Это предложение для измерений"),
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    overlap = Overlap(iter(["This sentence is kept, for measuring!"]))
    assert [pair.source for pair in clean(path, "ru", overlap)] == ["good"]


def test_overlap_finds_thirteen_words_in_a_row() -> None:
    held_out = " ".join(f"word{i}" for i in range(20))
    overlap = Overlap(iter([held_out]))
    assert normalise_key("and " + " ".join(f"Word{i}," for i in range(3, 16))) in overlap
    assert normalise_key(" ".join(f"word{i}" for i in range(3, 15))) not in overlap


def test_broken_training_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"es\.tsv does not exist"):
        list(read_tsv(tmp_path / "es.tsv"))
    (tmp_path / "es.tsv").write_text("source\tonly two\n", "utf-8")
    with pytest.raises(DataError, match=r"line 1: 2 columns instead of 3"):
        list(read_tsv(tmp_path / "es.tsv"))


def test_a_folder_without_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere holds no training text"):
        train_mini(tmp_path / "nowhere", tmp_path / "run", SMALL, report=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_pivot_pairs_join_over_english(folder: Path, run: Path) -> None:
    first, second = (load_set(run / "cache" / f"{code}.npz") for code in ("fi", "te"))
    rows, others = pivot_pairs(first, second)
    assert len(rows) == 40
    assert (first.left.keys[rows] == second.left.keys[others]).all()


def test_preparation_keeps_what_is_there(folder: Path, run: Path) -> None:
    lines: list[str] = []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    prepare(folder, tokenizer, run / "cache", max_tokens=SMALL.max_tokens, report=lines.append)
    assert lines == []


def test_gather_drops_tokens_but_never_a_whole_text() -> None:
    side = Side(np.arange(60, dtype=np.int32), np.array([0, 1, 30, 60]), np.array([7, 8, 9]))
    rng = np.random.default_rng(0)
    whole = gather(side, np.array([2, 0]), 0.0, rng)
    assert whole.ids.tolist() == [*range(30, 60), 0]
    assert whole.starts.tolist() == [0, 30]
    thin = gather(side, np.array([0, 1, 2]), 0.9, rng)
    assert thin.starts.tolist()[:2] == [0, 1]
    assert len(thin.ids) < 30
    assert (np.diff([*thin.starts, len(thin.ids)]) >= 1).all()


def test_sampler_draws_by_the_shares(run: Path) -> None:
    caches = sorted((run / "cache").glob("*.npz"))
    plan = replace(SMALL, share_sentences=0.0, share_pivot=0.0, share_passages=1.0)
    kinds = {batch.kind for batch in islice(Sampler(caches, plan), 10)}
    assert kinds == {"passages"}
    with pytest.raises(TrainingError, match="no training pairs"):
        Sampler([], SMALL)


@pytest.mark.parametrize(("low", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-2)])
def test_contrastive_loss_and_gradient_equal_the_plain_formula(low: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    count, width, temperature = 48, 16, 0.05
    left = functional.normalize(torch.randn(count, width, generator=generator), dim=1)
    noise = torch.randn(count, width, generator=generator)
    right = functional.normalize(left + 0.3 * noise, dim=1)
    left_keys, right_keys = np.arange(count), np.arange(count)
    left_keys[5], right_keys[9] = 3, 8

    vectors = torch.cat([left, right]).requires_grad_()
    scores = vectors @ vectors.T / temperature
    owner_l, owner_r = torch.tensor(left_keys).repeat(2), torch.tensor(right_keys).repeat(2)
    partner = torch.arange(2 * count).roll(count)
    positive = torch.zeros(2 * count, 2 * count, dtype=torch.bool)
    positive[torch.arange(2 * count), partner] = True
    same = (owner_l[:, None] == owner_l) | (owner_r[:, None] == owner_r)
    scores = scores.masked_fill(same & ~positive, -1e9)
    expected = (torch.logsumexp(scores, 1) - scores[positive]).mean()
    expected.backward()

    a, b = left.clone().requires_grad_(), right.clone().requires_grad_()
    loss = all_pairs_loss(a, b, left_keys, right_keys, temperature=temperature, low=low)
    loss.backward()
    assert vectors.grad is not None
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(loss, expected.detach(), rtol=tolerance, atol=tolerance)
    scale = float(vectors.grad.abs().max())
    error = (torch.cat([a.grad, b.grad]) - vectors.grad).abs().max() / scale
    assert float(error) < max(tolerance, 1e-5)


def test_row_adam_equals_adam_where_every_row_is_met() -> None:
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    ours, theirs = table.clone(), table.clone().requires_grad_()
    optimiser, reference = RowAdam(ours), torch.optim.Adam([theirs], lr=0.01)
    for step in range(5):
        gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(10 + step))
        optimiser.step(torch.arange(6), gradient, 0.01)
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


def test_row_adam_leaves_other_rows_alone() -> None:
    table = torch.ones(3, 2)
    RowAdam(table).step(torch.tensor([1]), torch.ones(1, 2), 0.1)
    assert table[0].tolist() == [1, 1]
    assert table[2].tolist() == [1, 1]
    assert table[1].tolist() != [1, 1]


def test_teacher_pulls_only_what_it_knows() -> None:
    keys = np.array(sorted([hash_key("cat"), hash_key("dog")]))
    teacher = TeacherVectors(keys, np.eye(2, 4, dtype=np.float16))
    rows, vectors = teacher.find(np.array([1, keys[1], keys[0]]))
    assert rows.tolist() == [1, 2]
    assert vectors.argmax(1).tolist() == [1, 0]
    units = torch.eye(3, 4)
    exact = torch.from_numpy(np.stack([np.zeros(4), vectors[0], vectors[1]]).astype(np.float32))
    assert float(teacher_loss(exact, exact, rows, vectors)) == pytest.approx(0.0)
    assert float(teacher_loss(units, units, rows, vectors)) > 0.1
    assert float(teacher_loss(units, units, np.empty(0, np.int64), np.empty((0, 4), np.float32))) == 0.0


def test_a_teacher_of_another_width_is_refused(
    folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = TeacherVectors(np.array([1]), np.ones((1, 8), np.float16))
    monkeypatch.setattr("lusifer.train.mini.trainer.teach", lambda *_, **__: vectors)
    (tmp_path / "tokenizer.json").write_bytes((run / "tokenizer.json").read_bytes())
    with pytest.raises(ConfigError, match="has 8 dimensions, the recipe 64"):
        train_mini(folder, tmp_path, SMALL, teacher=tmp_path / "teacher", report=lambda _: None)


def test_the_command_trains_a_model_that_loads(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text("vocabulary = 1400\ndimensions = 16\nbatch_sentences = 32\n")
    arguments = ["mini", str(folder), "--run", str(tmp_path / "run"), "--recipe", str(recipe), "--steps", "3"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert Embedder.load(tmp_path / "run" / "model").embed_query("water").shape == (1, 16)


def test_encode_weighs_tokens_by_their_norm() -> None:
    rows = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    vectors = encode(rows, torch.tensor([0, 1, 1]), torch.tensor([0, 2]))
    torch.testing.assert_close(vectors, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))


def test_common_tokens_are_weighed_down() -> None:
    table = np.ones((3, 2), np.float32)
    counts = np.array([998, 1, 1])
    weighed = weigh_tokens(table, counts, 0.001)
    assert weighed[0, 0] == pytest.approx(0.001 / 0.999)
    assert weighed[1, 0] == pytest.approx(0.5)
    assert weigh_tokens(table, counts, 0.0) is table


def test_learning_rate_rises_and_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, peak=1.0, warmup=0.1, fall="linear") for step in range(101)]
    assert rates[9] == max(rates) == 1.0
    assert rates[100] == 0.0
    assert all(a < b for a, b in pairwise(rates[:10]))


def test_recipes_are_checked(tmp_path: Path) -> None:
    assert Recipe.read(RECIPES / "mini.toml", steps=5).steps == 5
    path = tmp_path / "r.toml"
    path.write_text("stepz = 3\n")
    with pytest.raises(ConfigError, match=r"r\.toml: unknown field stepz\. did you mean 'steps'"):
        Recipe.read(path)
    path.write_text('steps = "many"\n')
    with pytest.raises(ConfigError, match=r"steps is 'many'\. it must be a valid integer"):
        Recipe.read(path)
    path.write_text("token_dropout = 1\n")
    with pytest.raises(ConfigError, match=r"token_dropout is 1\. it must be less than 1"):
        Recipe.read(path)
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        Recipe.read(tmp_path / "none.toml")


def test_tokenizer_folds_spelling_variants(sentences: dict[str, list[str]]) -> None:
    texts = [text for group in sentences.values() for text in group]
    tokenizer = train_tokenizer(texts, vocabulary=1400, threads=1)

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text).ids

    assert ids("ＷＡＴＥＲ") == ids("water")
    assert ids("كتاب") == ids("کتاب")
    assert ids("كِتَابٌ") == ids("كتاب")
    assert ids("ёлка") == ids("елка")
    assert ids("می‌شود") == ids("می شود")
    bare, bracketed = ids("water"), ids("(water)")
    assert any(bracketed[i : i + len(bare)] == bare for i in range(len(bracketed))), (
        "same word after a bracket"
    )
    with pytest.raises(TrainingError, match="could not be trained"):
        train_tokenizer(["one word"], vocabulary=5000, threads=1)


def test_whitening_evens_out_the_directions() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(4000, 8)) * np.array([8, 4, 2, 1, 1, 1, 1, 1])).astype(np.float32)
    for power, ratio in ((0.0, 64.0), (0.25, 8.0), (0.5, 1.0)):
        values = np.linalg.eigvalsh(np.cov((vectors @ whitening(vectors, power)).T))
        assert values[-1] / values[0] == pytest.approx(ratio, rel=0.15), power


def test_windows_join_neighbours_and_keep_their_own_text() -> None:
    side = Side(np.arange(50, dtype=np.int32), np.arange(0, 51, 5), np.arange(10))
    texts = gather(side, np.arange(10), 0.0, np.random.default_rng(0), neighbours=2)
    pieces = np.split(texts.ids, texts.starts[1:])
    assert len({len(piece) for piece in pieces}) > 2
    for row, piece in enumerate(pieces):
        assert set(range(5 * row, 5 * row + 5)) <= set(piece.tolist())
        assert piece.tolist() == list(range(piece[0], piece[-1] + 1)), "in order, without gaps"


def test_batches_are_of_one_source(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    rows = [
        f"{source}\t{source} {i}\t{source} numéro {i}\n" for source in ("tico19", "gnome") for i in range(40)
    ]
    (tmp_path / "train" / "fr.tsv").write_text("".join(rows), "utf-8")
    (tmp_path / "train" / "fr.names.tsv").write_text("dict-geonames\tCairo\tLe Caire\n", "utf-8")
    tokenizer = train_tokenizer(
        ["tico19 gnome numéro Cairo Le Caire 0123456789"] * 9, vocabulary=26, threads=1
    )
    caches = prepare(tmp_path, tokenizer, tmp_path / "cache", max_tokens=16)
    plan = replace(SMALL, batch_sentences=8, source_pairs=10, share_words=0.2)
    pairs = load_set(tmp_path / "cache" / "fr.npz")
    of_key = dict(zip(pairs.left.keys.tolist(), pairs.sources.tolist(), strict=True))
    drawn = {0: 0, 1: 0}
    for batch in islice(Sampler(caches, plan), 200):
        if batch.kind == "sentences":
            sources = {of_key[key] for key in batch.left.keys.tolist()}
            assert len(sources) == 1
            drawn[sources.pop()] += 1
        else:
            assert batch.name == "fr.names"
    assert drawn[0] > 2 * drawn[1], "general text is drawn more often than documentation"


@pytest.mark.slow
def test_quick_runs_the_whole_recipe_on_the_samples(tmp_path: Path) -> None:
    samples = Path(__file__).parents[2] / "samples"
    arguments = ["mini", str(samples), "--quick", "--run", str(tmp_path / "run"), "--threads", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "left out farming/картофель.txt: not UTF-8" in done.output
    model = Embedder.load(tmp_path / "run" / "model")
    pairs = load_set(tmp_path / "run" / "cache" / "asym.sw-sw.npz")
    lines = (tmp_path / "run" / "data" / "asym" / "sw-sw.tsv").read_text("utf-8").splitlines()
    queries, passages = zip(*(line.split("\t")[1:] for line in lines if line.count("\t") == 2), strict=True)
    scores = model.embed_query(list(queries)) @ model.embed_documents(list(passages)).T
    assert len(pairs) > 50
    assert recall_at(ranks(scores, np.arange(len(passages))), 10) > 3 * 10 / len(passages), "3 times chance"


def test_quick_names_what_it_cannot_learn_from(tmp_path: Path) -> None:
    run = ["--quick", "--run", str(tmp_path / "run")]
    for folder, message in ((tmp_path / "none", "does not exist"), (tmp_path, "no sub-folder")):
        failed = CliRunner().invoke(app, ["mini", str(folder), *run])
        assert isinstance(failed.exception, DataError)
        assert message in failed.exception.message


def test_some_texts_lose_their_accents() -> None:
    assert without_accents("Đường phố Hà Nội, été à Malmö") == "Duong pho Ha Noi, ete a Malmo"
    pairs = [
        Pair("own", f"word {i}", f"đường {i}", hash_key(f"l{i}"), hash_key(f"r{i}")) for i in range(2000)
    ]
    found = list(drop_some_accents(pairs, "vi"))
    changed = [pair for pair in found if pair.right.startswith("duong")]
    assert len(changed) / len(found) == pytest.approx(0.2, abs=0.03)
    assert [pair.left for pair in found] == [pair.left for pair in pairs]
    assert list(drop_some_accents(pairs, "ru")) == pairs
    queries = list(drop_some_accents([replace(pair, left=pair.right) for pair in pairs], "asym.vi-en"))
    assert 0.15 < np.mean([pair.left.startswith("duong") for pair in queries]) < 0.25
    assert all(pair.right.startswith("đường") for pair in queries)


def test_digits_of_all_scripts_are_one() -> None:
    normalise = build_normalizer().normalize_str
    assert normalise("١٩٩٩ ۱۴۰۲ २०२३ ২০২৪ ౨౦౨౫") == "1999 1402 2023 2024 2025"
