"""Calibrating a model: pools, the fits, and the command, with a model whose geometry is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.main import cli
from lusifer import Embedder
from lusifer.errors import ConfigError, DataError
from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering, Questions
from search.calibration.fit import calibrate, expit, first_hits, fit_growing, probability, write_calibration
from search.calibration.pools import LexicalIndex, Passages, Pool, gather_pools
from search.calibration.report import measure, to_markdown
from search.calibration.weights import bias, chance_coverage, fused, positions, quality
from search.ranking import Asked, Calibration, Evidence, FusionWeights, score
from store.fusion import FusionParameters, fuse
from store.lexical import document_vector, query_vector

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds

ROOT = Path(__file__).parents[2]
CODES = ("en", "ar", "ko")


def parallel() -> dict[str, list[str]]:
    lines = (ROOT / "tests" / "data" / "parallel.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {code: [row[code] for row in rows] for code in CODES}


@pytest.fixture(scope="module")
def pools() -> list[Pool]:
    """Everyday sentences as paragraphs, their first words as questions."""
    texts = parallel()
    size = len(texts["en"])
    paragraphs = {
        code: {f"{code}{row}": text for row, text in enumerate(group)} for code, group in texts.items()
    }
    questions = {
        (asked, answered): Questions(
            [str(row) for row in range(size)],
            [" ".join(text.split()[:4]) for text in texts[asked]],
            [f"{answered}{row}" for row in range(size)],
        )
        for asked in CODES
        for answered in CODES
    }
    model = Embedder.load()
    return gather_pools(
        model, QuestionAnswering(paragraphs, questions), ParallelSentences(texts, []), every=1
    )


@pytest.fixture(scope="module")
def calibration(pools: list[Pool]) -> Calibration:
    return calibrate(pools)


def test_lexical_scores_are_those_of_the_engines() -> None:
    passages = ["the city library opens at nine", "bees in winter", "the library of bees"]
    questions = ["library bees zzzz", "???"]
    scores, ideal = LexicalIndex(passages).score(questions)
    terms = [dict(zip(*map(np.ndarray.tolist, document_vector([text])), strict=True)) for text in passages]
    expected = np.zeros((2, 3))
    best = 0.0
    for term, weight in zip(*map(np.ndarray.tolist, query_vector(questions[0])), strict=True):
        holders = sum(term in one for one in terms)
        idf = weight * np.log(1 + (3 - holders + 0.5) / (holders + 0.5))
        best += idf
        expected[0] += [idf * one.get(term, 0.0) for one in terms]
    assert scores == pytest.approx(expected, rel=1e-5)
    assert ideal == pytest.approx([best, 0.0])


def test_a_pool_holds_what_both_halves_bring_and_nothing_hidden() -> None:
    model = Embedder.load()
    texts = parallel()["en"]
    pool = Passages(model, texts, ["en"] * len(texts)).ask(
        "one", "en", [texts[3], texts[5]], [[3], [5]], [[4], []]
    )
    assert pool.similarity.shape == (2, len(texts))
    assert pool.right.sum(1).tolist() == [1, 1]
    assert (pool.language == "").sum(1).tolist() == [1, 0], "the hidden passage"
    assert not np.isfinite(pool.similarity[0][pool.language[0] == ""]).any()
    assert pool.similarity[pool.right] == pytest.approx([1.0, 1.0], abs=1e-5)
    without = pool.unanswered()
    assert not without.right.any()
    assert without.similarity.max() < 0.95
    assert without.nearest.shape == (2, 1)


def test_ranks_as_the_store_does(pools: list[Pool]) -> None:
    pool = next(one for one in pools if one.kind == "mixed")
    weights = FusionWeights(1.2, 0.8, {pool.asked: 0.3})
    parameters = FusionParameters(lexical_weight=0.8, own_weight=1.2, own_handicap=0.3, full_coverage=0.0)
    for row in range(5):
        ideal = 10.0
        names = list(range(pool.similarity.shape[1]))
        own, words = pool.own[row].tolist(), pool.coverage[row] * ideal
        hits = fuse(names, pool.similarity[row], words, ideal, parameters, own=own)
        scores = fused(pool, weights)[row]
        assert [one.score for one in hits] == pytest.approx(sorted(scores / 2.2, reverse=True), abs=2e-5)
        assert scores[hits[0].id] == pytest.approx(scores.max(), abs=1e-4)


def test_measures_by_hand() -> None:
    pool = Pool(
        kind="mixed",
        asked="en",
        similarity=np.array([[0.9, 0.5, 0.4]], np.float32),
        coverage=np.array([[0.0, 0.6, 0.2]], np.float32),
        words=np.array([[0.0, 6.0, 2.0]], np.float32),
        language=np.array([["ko", "en", "en"]]),
        right=np.array([[False, True, False]]),
        own_share=0.5,
    )
    assert positions(pool.similarity, pool.right).tolist() == [1]
    assert positions(pool.similarity, np.zeros_like(pool.right)).tolist() == [3]
    assert quality([pool], [pool.words]).recall == 1.0
    assert bias(pool, pool.similarity) == pytest.approx((2 / 3) / 0.5)
    assert chance_coverage([pool]) == {"en": 0.0}, "fewer than five passages by chance"
    weights = FusionWeights(1.0, 1.0, {"en": 0.3})
    assert fused(pool, weights) == pytest.approx(np.array([[0.9, 0.8, 0.3]]))
    assert first_hits(pool, weights, most=1).known == pytest.approx(np.array([[0.9, 0.6, 0.0, 0.0]]))


def test_logistic_regression_finds_what_made_the_data_and_lets_evidence_only_speak_for_an_answer() -> None:
    random = np.random.default_rng(0)
    rows = np.c_[np.ones(20000), random.standard_normal((20000, 2))]
    ones = np.ones(20000)
    answers = random.random(20000) < expit(rows @ np.array([-1.0, 2.0, 0.5]))
    assert fit_growing(rows, answers, ones) == pytest.approx([-1.0, 2.0, 0.5], abs=0.08)
    answers = random.random(20000) < expit(rows @ np.array([-1.0, 2.0, -0.5]))
    growing = fit_growing(rows, answers, ones)
    assert growing[2] == 0.0
    assert growing[1] > 1.5
    apart = fit_growing(rows[:2], np.array([True, False]), ones[:2])
    assert np.isfinite(apart).all(), "separable data have no finite optimum"


def test_a_fit_is_the_one_that_calibrated_the_shipped_model(calibration: Calibration) -> None:
    """Recorded with the Newton steps that fitted the numbers in ``lusifer/mini/config.json``."""
    recorded = {
        "fusion": {"own": 0.5, "other": 0.2, "handicap": {"en": 0.0307, "ar": 0.0264, "ko": 0.0347}},
        "own": [-29.7653, 0.0, 4.0218, 31.477, 1.7634],
        "other": [-6.1512, 28.2852, 0.0, 0.0, 0.0],
        "pairs": {"ar-en": -0.0834, "ar-ko": 0.334, "en-ar": 0.0884, "ko-ar": 0.0803, "ko-en": -0.5131},
    }
    found = calibration.to_dict()
    assert found["fusion"]["own"] == recorded["fusion"]["own"]
    assert found["fusion"]["other"] == recorded["fusion"]["other"]
    assert found["fusion"]["handicap"] == pytest.approx(recorded["fusion"]["handicap"], abs=2e-3)
    for name in ("own", "other"):
        assert list(found["score"][name].values()) == pytest.approx(recorded[name], rel=0.02, abs=0.02)
    assert found["score"]["pairs"] == pytest.approx(recorded["pairs"], abs=0.02)


def test_calibrating_is_never_below_words_alone_and_keeps_mixed_pools_fair(
    pools: list[Pool], calibration: Calibration
) -> None:
    result = measure(pools, calibration)
    for code in CODES:
        pair = result["pairs"][f"{code}-{code}"]
        assert pair["fused"]["recall@10"] >= pair["lexical"]["recall@10"], code
    assert result["all"]["fused"]["ndcg@10"] > result["all"]["lexical"]["ndcg@10"]
    assert result["all"]["fused"]["ndcg@10"] >= result["all"]["dense"]["ndcg@10"] - 0.001
    assert 1 / 1.25 <= np.mean([row["bias"]["fused"] for row in result["mixed"].values()]) <= 1.25
    assert set(calibration.fusion.handicap) == set(calibration.score.chance) == set(CODES)


def test_scores_tell_questions_with_an_answer_from_those_without(
    pools: list[Pool], calibration: Calibration
) -> None:
    result = measure(pools, calibration)["scores"]
    for kind in ("one", "mixed", "sentences"):
        assert result[kind]["weak_unanswered"] > result[kind]["weak_answered"] + 0.1, kind
        assert result[kind]["weak_right"] < 0.25


def test_scores_are_those_of_the_search(pools: list[Pool], calibration: Calibration) -> None:
    for pool in (pools[0], pools[-1]):
        hits = first_hits(pool, calibration.fusion, most=1)
        fitted = probability(hits, calibration.score)
        for row in range(0, len(hits), 7):
            similarity, around, coverage, words = hits.known[row].tolist()
            evidence = Evidence(similarity, words, coverage, str(hits.language[row]))
            asked = Asked(pool.asked, 1.0, (around,) * 50)
            assert score(evidence, asked, calibration) == pytest.approx(fitted[row], abs=1e-6)


def test_reports_name_every_pair(pools: list[Pool], calibration: Calibration) -> None:
    text = to_markdown(measure(pools, calibration))
    assert all(f"| {a}-{b} | recall@10 |" in text for a in CODES for b in CODES)
    assert "| ko, mixed | language bias |" in text


def test_refuses_questions_that_say_too_little(pools: list[Pool]) -> None:
    with pytest.raises(DataError, match="no parallel sentences in ar, en, ko"):
        calibrate([pool for pool in pools if pool.kind != "sentences"])
    with pytest.raises(DataError, match="cannot calibrate"):
        calibrate([pool for pool in pools if pool.kind == "sentences"])


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """Everyday sentences in the layout of the evaluation sets."""
    texts = parallel()
    (tmp_path / "mlqa").mkdir()
    rows = [dict(zip(CODES, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    write_jsonl(tmp_path / "sib200.jsonl", rows)
    for code in CODES[:2]:
        found = [{"pid": f"{code}{row}", "text": text} for row, text in enumerate(texts[code])]
        write_jsonl(tmp_path / "mlqa" / f"dev.paragraphs.{code}.jsonl", found)
        for other in CODES[:2]:
            asked = [
                {"qid": str(row), "pid": f"{code}{row}", "question": text[:20]}
                for row, text in enumerate(texts[other])
            ]
            write_jsonl(tmp_path / "mlqa" / f"dev.q-{other}.c-{code}.jsonl", asked)
    return tmp_path


def test_words_alone_are_measured_beside_models(dev: Path) -> None:
    names = ["--model", "bm25", "--model", str(ROOT / "lusifer" / "mini")]
    done = CliRunner().invoke(cli, ["evaluate", "retrieval", str(dev), "--out", str(dev), *names])
    assert done.exit_code == 0, done.output
    words, vectors = json.loads((dev / "retrieval.json").read_text(encoding="utf-8"))["systems"]
    assert (words["run"]["model"], vectors["run"]["model"]) == ("bm25", "lusifer-mini")
    assert words["questions"]["same"]["recall@1"] > 0.9
    assert words["sentences"]["mean"] < 0.5 < vectors["sentences"]["mean"], "words do not cross languages"
    assert "| bm25 |" in (dev / "retrieval.md").read_text(encoding="utf-8").split("\n# ")[0]


def test_the_command_writes_into_the_model_and_changes_no_vector(dev: Path) -> None:
    folder = dev / "model"
    shutil.copytree(ROOT / "lusifer" / "mini", folder)
    before = Embedder.load(folder)
    arguments = ["train", "calibrate", str(dev), "--model", str(folder)]
    assert CliRunner().invoke(cli, [*arguments, "--dry-run"]).exit_code == 0
    assert (folder / "config.json").read_bytes() == (ROOT / "lusifer" / "mini" / "config.json").read_bytes()
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "| ar-en | recall@10 |" in done.output
    after = Embedder.load(folder)
    assert after.fingerprint == before.fingerprint
    read = Calibration.read(after.calibration)
    assert read is not None
    assert set(read.fusion.handicap) == set(CODES)
    assert [path.name for path in folder.glob("config.json*")] == ["config.json"]


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, calibration: Calibration) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError):
        write_calibration(tmp_path, calibration)
