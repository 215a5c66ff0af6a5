"""The benchmark without mteb: what is measured, the paper's figures, means by hand, tables."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.languages import CODES
from lusifer.errors import ConfigError, DataError
from lusifer.evaluate import cli
from lusifer.evaluate.benchmark.catalogue import (
    Catalogue,
    Column,
    Task,
    read_catalogue,
    read_local_catalogue,
)
from lusifer.evaluate.benchmark.scores import Outcome, read_published, summarise
from lusifer.evaluate.benchmark.tables import to_markdown


def small() -> Catalogue:
    """Two Finnish tasks and one of two languages, under names whose published figures are known."""
    hindi = ("hi-hi", "hi-en")
    tasks = [
        Task("FinParaSTS", "STS", "cosine_spearman", "test", "i", {"fi": ("default",)}, counted=True),
        Task("OpusparcusPC", "Classification", "max_ap", "test", "i", {"fi": ("fi",)}, counted=True),
        Task("XQuADRetrieval", "Retrieval", "ndcg_at_10", "test", "i", {"hi": ("hi",)}, counted=False),
        Task("MLQARetrieval", "Retrieval", "ndcg_at_10", "test", "i", {"hi": hindi}, counted=True),
    ]
    columns = {"MLQARetrieval": Column("MLQARetrieval", {"hi": hindi, "en": ("hi-en",)})}
    return Catalogue({task.name: task for task in tasks}, columns)


def test_the_benchmark_is_the_papers() -> None:
    catalogue, published = read_catalogue(), read_published()
    assert len(catalogue.tasks) == 133
    assert sum(len(task.subsets) for task in catalogue.tasks.values()) == 231
    assert catalogue.languages == CODES == tuple(published.languages)
    assert all(task.instruction and task.split and task.subsets for task in catalogue.tasks.values())
    assert list(catalogue.crosslingual) == published.datasets
    for code in CODES:
        counted = {task.name for task in catalogue.tasks_of(code) if task.counted}
        for model in ("LUSIFER", "E5-Mistral"):
            assert published.per_dataset[model][code].keys() == counted


def test_the_papers_cells_give_its_table() -> None:
    published = read_published()
    for row in (*published.per_language.values(), *published.crosslingual.values()):
        assert sum(row[:-1]) / (len(row) - 1) == pytest.approx(row[-1], abs=0.011)
    table = dict(zip(published.languages, published.per_language["LUSIFER"], strict=False))
    for code, cells in published.per_dataset["LUSIFER"].items():
        # English does not add up in the paper itself: 57.20 is printed.
        expected = 57.47 if code == "en" else table[code]
        assert sum(cells.values()) / len(cells) == pytest.approx(expected, abs=0.011)


def test_selecting_languages_and_tasks() -> None:
    catalogue = read_catalogue()
    finnish = catalogue.select(["FI"])
    assert finnish.languages == ("fi",)
    assert len(finnish.tasks) == 10
    assert list(finnish.crosslingual) == ["BelebeleRetrieval"]
    both = catalogue.select(["es", "sw"], ["clustering", "sts17"])
    assert {task.kind for task in both.tasks.values()} == {"Clustering", "STS"}
    assert both.tasks["STS17"].subsets == {"es": ("es-en", "es-es")}
    assert both.tasks["MasakhaNEWSClusteringP2P"].subsets == {"sw": ("swa",)}


@pytest.mark.parametrize(
    ("languages", "tasks", "message"),
    [
        (["de"], [], "no language de"),
        ([], ["STS71"], "no task STS71. did you mean STS17"),
        (["fi"], ["STS12"], "none of the tasks STS12 is in fi"),
    ],
)
def test_selecting_what_is_not_there(languages: list[str], tasks: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_catalogue().select(languages, tasks)


def test_jobs_run_every_subset_once() -> None:
    jobs = {job.task: job for job in read_catalogue().jobs()}
    assert len(jobs) == 133
    assert all(len(set(job.subsets)) == len(job.subsets) for job in jobs.values())
    # French and Arabic are in Table 1; Table 2 wants the other languages too.
    assert {"fr", "ar", "en", "es-en", "ru"} <= set(jobs["STS22.v2"].subsets)
    assert jobs["MSMARCO"].split == "test"


def outcomes() -> list[Outcome]:
    return [
        Outcome("FinParaSTS", {"default": 0.2}),
        Outcome("OpusparcusPC", unfetched={"fi": "ConnectionError: no hub"}),
        Outcome("XQuADRetrieval", {"hi": 0.9}),
        Outcome("MLQARetrieval", {"hi-hi": 0.6, "hi-en": 0.4}),
    ]


def test_means_by_hand() -> None:
    report = summarise(small(), outcomes(), read_published())
    assert report["per_dataset"]["hi"] == {"XQuADRetrieval": 90.0, "MLQARetrieval": pytest.approx(50.0)}
    # XQuADRetrieval is not in the paper's tables, so it does not count.
    assert report["per_language"]["hi"] == {"score": pytest.approx(50.0), "measured": 1, "of": 1}
    assert report["per_language"]["fi"] == {"score": pytest.approx(20.0), "measured": 1, "of": 2}
    assert report["average"]["score"] == pytest.approx(35.0)
    assert report["same_tasks"]["LUSIFER"] == {"en": None, "fi": 17.24, "hi": 54.54}
    assert report["crosslingual"]["MLQARetrieval"]["score"] == pytest.approx(45.0)
    assert report["unfetched"] == {"OpusparcusPC": "ConnectionError: no hub"}
    assert report["failed"] == {}


def test_a_score_needs_all_its_subsets() -> None:
    results = [*outcomes()[:3], Outcome("MLQARetrieval", {"hi-hi": 0.6}, failed={"hi-en": "ValueError: x"})]
    report = summarise(small(), results, read_published())
    assert "MLQARetrieval" not in report["per_dataset"]["hi"]
    assert report["crosslingual"]["MLQARetrieval"] == {"score": None, "measured": 0, "of": 2}


def test_tables() -> None:
    catalogue, published = small(), read_published()
    run = {"model": "m", "fingerprint": "f", "command": "c", "machine": "x", "date": "d", "mteb": "2"}
    report = {"run": run, "datasets": "published", **summarise(catalogue, outcomes(), published)}
    lines = to_markdown(report, catalogue, published).splitlines()
    assert "| model | en | fi | hi | Avg |" in lines
    assert "| **m** |  | 20.00 (1/2) | 50.00 | 35.00 (2/3) |" in lines
    assert "| LUSIFER, same datasets |  | 17.24 | 54.54 |  |" in lines
    assert "| LUSIFER | 57.20 | 72.83 | 62.37 |  |" in lines
    assert "| **m** | 45.00 | 45.00 |" in lines
    assert "| E5-Mistral | 31.54 |  |" in lines
    assert "| XQuADRetrieval † | Retrieval | ndcg_at_10 | test | 90.00 |  |  |" in lines
    assert "- OpusparcusPC: ConnectionError: no hub" in lines


def test_local_tasks_are_said_not_to_compare(sentences_file: Path) -> None:
    catalogue = read_local_catalogue(sentences_file)
    assert catalogue.languages == ("en", "fi", "hi")
    assert {task.kind for task in catalogue.tasks.values()} == {
        "Classification",
        "Clustering",
        "Reranking",
        "Retrieval",
        "STS",
    }
    run = {"model": "m", "fingerprint": "f", "command": "c", "machine": "x", "date": "d", "mteb": "2"}
    scored = [Outcome(name, {"en": 0.1, "fi": 0.2, "hi": 0.3}) for name in catalogue.tasks]
    report = {"run": run, "datasets": "local", **summarise(catalogue, scored, read_published())}
    text = to_markdown(report, catalogue, read_published())
    # No published row stands in a table with a local one.
    own, theirs = text.split("**not to be compared**")[:2]
    assert "| LUSIFER |" not in own
    assert "| LUSIFER |" in theirs
    assert "| **m**, local tasks | 10.00 | 20.00 | 30.00 | 20.00 |" in text


@pytest.mark.parametrize("topics", [["a", "a", "a", "a"], ["a", "a", "b", "c"], None])
def test_local_sentences_need_topics(tmp_path: Path, topics: list[str] | None) -> None:
    path = tmp_path / "sentences.jsonl"
    rows = [{"en": f"e{n}", "fi": f"f{n}", **({"category": topics[n]} if topics else {})} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="needs two topics"):
        read_local_catalogue(path)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = CliRunner().invoke(cli.app, ["benchmark"])
    assert isinstance(result.exception, ConfigError)
    assert "pip install 'lusifer-search[evaluate]'" in result.exception.hint


def test_another_mteb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: True)
    monkeypatch.setattr(cli, "version", lambda _name: "1.14.21")
    with pytest.raises(ConfigError, match=r"mteb 1\.14\.21 is installed"):
        cli.require_mteb()


def test_an_unreachable_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not cli.go_offline_if_unreachable()
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_one_process_takes_one_device(sentences_file: Path) -> None:
    arguments = ["benchmark", "--local", str(sentences_file), "--devices", "cuda:0,cuda:1"]
    result = CliRunner().invoke(cli.app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert "start the same command once for each" in result.exception.hint


def test_local_data_have_a_version(sentences_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(sentences_file.read_text(encoding="utf-8").replace("health", "body"), encoding="utf-8")
    assert read_local_catalogue(sentences_file).version != read_local_catalogue(other).version


def test_the_command_line_stays_light() -> None:
    code = (
        "import sys, lusifer.evaluate.cli; print({'mteb', 'torch', 'datasets', 'httpx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
