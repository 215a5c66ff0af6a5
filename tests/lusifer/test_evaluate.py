"""Measuring: metrics by hand, retrieval with an encoder whose every vector is known, reports, the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lusifer.errors import ConfigError, DataError
from lusifer.evaluate import retrieval as selftest
from lusifer.evaluate.cli import app, open_system
from lusifer.evaluate.datasets import (
    ParallelSentences,
    QuestionAnswering,
    Questions,
    read_native_questions,
    read_parallel,
    read_questions,
)
from lusifer.evaluate.report import to_markdown, write_results
from lusifer.evaluate.retrieval import (
    measure,
    mixed_pool,
    native_pool,
    ndcg_at,
    nearest_centroid,
    question_retrieval,
    ranks,
    recall_at,
    scattered_pool,
    sentence_retrieval,
    top_k,
)


class Known:
    """An encoder that looks vectors up: what follows the last colon of a text names its direction."""

    def embed_documents(self, texts: list[str]) -> np.ndarray:
        return np.eye(8, dtype=np.float32)[[int(text.rsplit(":", 1)[1]) for text in texts]]

    embed_query = embed_documents


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_ranks_count_ties_against_the_answer() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]])
    positions = ranks(scores, np.array([0, 1, 2]))
    assert positions.tolist() == [0, 1, 2]
    assert recall_at(positions, 1) == pytest.approx(1 / 3)
    assert ndcg_at(positions, 2) == pytest.approx((1 + 1 / np.log2(3)) / 3)


def test_top_is_ordered() -> None:
    assert top_k(np.array([[0.1, 0.9, 0.5, 0.7]]), 3).tolist() == [[1, 3, 2]]
    assert top_k(np.array([[0.1, 0.9]]), 10).tolist() == [[1, 0]]


def test_nearest_centroid() -> None:
    train = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    assert nearest_centroid(train, ["a", "a", "b"], train[[0, 2]], ["a", "b"]) == 1.0
    assert nearest_centroid(train, ["a", "a", "b"], train[[0, 2]], ["b", "b"]) == 0.5


def test_sentence_retrieval_by_hand() -> None:
    data = ParallelSentences(
        {"en": ["a:0", "b:1", "c:2"], "fi": ["x:0", "y:1", "z:2"], "sw": ["p:0", "q:2", "r:1"]},
        ["one", "two", "three"],
    )
    result = sentence_retrieval(Known(), data)
    assert result["accuracy"]["en"]["fi"] == 1.0
    assert result["accuracy"]["sw"]["en"] == pytest.approx(1 / 3)
    assert result["mean"] == pytest.approx(2 / 3)
    assert (result["weakest"], result["minimum"]) == ("sw", pytest.approx(1 / 3))
    assert result["topics"] == {"fi": 1.0, "sw": pytest.approx(1 / 3)}


def test_questions_and_the_mixed_pool_by_hand() -> None:
    data = QuestionAnswering(
        {"en": {"e0": "e:0", "e1": "e:1"}, "ar": {"a0": "a:0", "a1": "a:5"}},
        {
            ("en", "en"): Questions(["q0"], ["q:0"], ["e0"]),
            ("en", "ar"): Questions(["q0", "q1"], ["q:0", "q:1"], ["a0", "a1"]),
        },
    )
    result = question_retrieval(Known(), data)
    assert result["same"]["recall@1"] == 1.0
    assert result["pairs"]["en-ar"] == {
        "recall@1": 0.5,
        "recall@10": 1.0,
        "ndcg@10": pytest.approx((1 + 1 / np.log2(3)) / 2),
    }
    mixed = mixed_pool(Known(), data)
    assert mixed["en"]["recall@10"] == 1.0
    assert mixed["en"]["own_share"] == 0.5
    assert mixed["en"]["own_relevant"] == pytest.approx(0.25)
    assert mixed["bias"] == pytest.approx(2.0)


class Overlap:
    """A system without vectors: the number of characters that question and passage share."""

    fingerprint = "overlap"

    def index(self, passages):
        def ask(questions):
            return np.array([[len(set(q) & set(p)) for p in passages] for q in questions], np.float32)

        return ask


def test_systems_without_vectors_are_opened_by_name() -> None:
    system = open_system("overlap", {"overlap": Overlap})
    assert (system.name, system.fingerprint) == ("overlap", "overlap")
    assert isinstance(system.retriever, Overlap)


def test_systems_without_vectors_are_measured_too() -> None:
    sentences = ParallelSentences({"en": ["abc", "def"], "fi": ["abx", "dex"]}, ["one", "two"])
    questions = QuestionAnswering(
        {"en": {"e0": "abcd", "e1": "xyz"}, "ar": {"a0": "abc"}},
        {("en", "en"): Questions(["q0"], ["abc"], ["e0"]), ("en", "ar"): Questions(["q0"], ["abc"], ["a0"])},
    )
    result = measure(Overlap(), sentences, questions)
    assert result["sentences"]["mean"] == 1.0
    assert "topics" not in result["sentences"]
    assert result["questions"]["same"]["recall@1"] == 1.0
    assert result["mixed"]["en"]["recall@10"] == 1.0


@pytest.fixture(scope="module")
def sentence_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, laid out as sentence-transformers does."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bees", "in", "winter", "query", ":"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    parts = [("", "models.Transformer"), ("1_Pooling", "models.Pooling"), ("2_Normalize", "models.Normalize")]
    modules = [{"path": path, "type": f"sentence_transformers.{name}"} for path, name in parts]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    return folder


@pytest.mark.slow
def test_reads_sentence_transformers_folders(sentence_transformer: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    system = open_system(str(sentence_transformer), {})
    texts = ["bees", "bees in winter", "in " * 20]
    vectors = system.retriever.embed_documents(texts)
    model, tokenizer = (
        kind.from_pretrained(sentence_transformer).eval()
        if kind is AutoModel
        else kind.from_pretrained(sentence_transformer)
        for kind in (AutoModel, AutoTokenizer)
    )
    for text, vector in zip(texts, vectors, strict=True):
        with torch.inference_mode():
            tokens = tokenizer(text, truncation=True, max_length=6, return_tensors="pt")
            expected = model(**tokens).last_hidden_state[0].mean(0).numpy()
        assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert len(system.fingerprint) == 16


def test_sentence_transformers_of_other_makes_are_refused(sentence_transformer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(sentence_transformer, folder)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(DataError, match="pooling_mode_max_tokens"):
        open_system(str(folder), {})
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "3", "type": "x.Dense"}]))
    with pytest.raises(DataError, match="Dense"):
        open_system(str(folder), {})
    (folder / "modules.json").write_text("{")
    with pytest.raises(DataError, match=r"modules\.json cannot be read"):
        open_system(str(folder), {})


def test_reports_are_made_from_results(tmp_path: Path) -> None:
    data = ParallelSentences({"en": ["a:0", "b:1"], "fi": ["x:0", "y:1"]}, [])
    run = {"command": "c", "model": "m", "fingerprint": "f", "machine": "x", "date": "d"}
    results = {"run": run, "sentences": sentence_retrieval(Known(), data)}
    paths = write_results(results, tmp_path, "r")
    assert json.loads(paths[0].read_text()) == results
    assert "| en |  | 1.000 |" in paths[1].read_text() == to_markdown(results)


def test_broken_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl does not exist"):
        read_parallel(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        read_parallel(tmp_path / "bad.jsonl")
    write_jsonl(tmp_path / "one.jsonl", [{"en": "a"}])
    with pytest.raises(DataError, match="no two languages"):
        read_parallel(tmp_path / "one.jsonl")
    with pytest.raises(DataError, match="no paragraphs or questions"):
        read_questions(tmp_path)


@pytest.mark.slow
def test_the_command_measures_the_shipped_model(tmp_path: Path) -> None:
    parallel = Path(__file__).parents[1] / "data" / "parallel.jsonl"
    (tmp_path / "sib200.jsonl").write_bytes(parallel.read_bytes())
    folder = tmp_path / "mlqa"
    folder.mkdir()
    rows = [json.loads(line) for line in parallel.read_text(encoding="utf-8").splitlines()]
    for code in ("en", "ar"):
        texts = [{"pid": f"{code}{i}", "text": row[code]} for i, row in enumerate(rows)]
        write_jsonl(folder / f"dev.paragraphs.{code}.jsonl", texts)
        asked = [
            {"qid": str(i), "pid": f"{code}{i}", "question": row["en"]} for i, row in enumerate(rows[:10])
        ]
        write_jsonl(folder / f"dev.q-en.c-{code}.jsonl", asked)
    done = CliRunner().invoke(app, ["retrieval", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    assert result["sentences"]["mean"] > 0.9, "everyday sentences, each to be found among forty"
    assert result["sentences"]["minimum"] > 0.8
    assert result["questions"]["same"]["recall@1"] == 1.0


def test_a_scattered_pool_has_each_paragraph_in_one_language() -> None:
    # Four paragraphs in two languages each; the same place in both is the same paragraph.
    paragraphs = {code: {f"{code}{at}": f"{code}:{at}" for at in range(4)} for code in ("en", "fi")}
    questions = {
        (asked, answered): Questions(
            [f"q{at}" for at in range(4)],
            [f"{asked}?:{at}" for at in range(4)],
            [f"{answered}{at}" for at in range(4)],
        )
        for asked in paragraphs
        for answered in paragraphs
    }
    data = QuestionAnswering(paragraphs, questions)
    result = scattered_pool(Known(), data)
    assert result["mean"]["other@1"] == result["weakest"] == 1.0
    assert result["en"]["fair"] + result["fi"]["fair"] == pytest.approx(1.0)
    assert result["en"]["own_first"] == result["mean"]["loss"] == 0.0

    class Partial(Known):
        """Finds the right paragraph second: one in the question's own language stands before it."""

        def embed_query(self, texts: list[str]) -> np.ndarray:
            own = np.array([[text.startswith("en")] for text in texts], np.float32)
            return np.concatenate([super().embed_query(texts), 2 * own], axis=1)

        def embed_documents(self, texts: list[str]) -> np.ndarray:
            own = np.array([[text.startswith("en")] for text in texts], np.float32)
            return np.concatenate([super().embed_documents(texts), own], axis=1)

    biased = scattered_pool(Partial(), data)
    assert biased["en"]["other@1"] == 0.0
    assert biased["en"]["own_first"] == biased["en"]["loss"] == 1.0
    assert biased["fi"]["other@1"] == 1.0


def test_a_native_pool_is_asked_in_its_own_languages(tmp_path: Path) -> None:
    for code, right in (("en", 0), ("te", 1)):
        write_jsonl(
            tmp_path / f"paragraphs.{code}.jsonl", [{"pid": code, "title": "About", "text": f"text:{right}"}]
        )
        write_jsonl(tmp_path / f"questions.{code}.jsonl", [{"qid": code, "pid": code, "question": "which:0"}])
    data = read_native_questions(tmp_path)
    assert data.paragraphs["te"]["te"] == "About. text:1"
    result = native_pool(Known(), data)
    assert result["en"]["recall@1"] == 1.0
    assert result["weakest"] == 0.0
    assert result["mean"] == {"recall@1": 0.5, "recall@5": 1.0}
    with pytest.raises(DataError, match="no paragraphs"):
        read_native_questions(tmp_path / "none")


class Placed:
    """Knows the built-in sentences; ``lost`` is a language whose sentences all look alike."""

    def __init__(self, lost: str) -> None:
        texts = json.loads(
            Path(selftest.__file__).with_name("data").joinpath("parallel.json").read_text("utf-8")
        )
        self.places = {
            text: 0 if code == lost else place
            for code, own in texts.items()
            for place, text in enumerate(own)
        }

    def embed_query(self, texts: list[str]) -> np.ndarray:
        return np.eye(16, dtype=np.float32)[[self.places[text] for text in texts]]

    embed_documents = embed_query


def test_the_selftest_names_weak_pairs_in_plain_words() -> None:
    outcome = selftest.run_selftest(Placed("sw"), ["en", "fi", "sw"])  # type: ignore[arg-type]
    by_pair = {(pair.asked, pair.found): pair for pair in outcome.pairs}
    assert by_pair["en", "fi"].verdict == "works well"
    assert by_pair["en", "sw"].verdict == "works poorly"
    text = selftest.describe_selftest(outcome, "toy", 0.25)
    assert "toy: 6 pairs of 3 languages tested in 0.2 s." in text
    assert "Asking in English for Swahili works poorly: 0% of the answers come first." in text
    assert "The other 2 pairs work well." in text
    for languages, message in ((["en", "xx"], "no language 'xx'"), (["en"], "makes no pair")):
        with pytest.raises(ConfigError, match=message):
            selftest.run_selftest(Placed(""), languages)  # type: ignore[arg-type]
