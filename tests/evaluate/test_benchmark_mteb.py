"""The benchmark through mteb: every name resolves, every kind of task runs, runs go on, failures are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import mteb
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskSTS
from mteb.types import PromptType
from typer.testing import CliRunner

from common.files import FileLock
from lusifer.config import Prompts
from lusifer.embedder import Embedder
from lusifer.errors import ConfigError, DataError
from lusifer.evaluate.benchmark.catalogue import Catalogue, Job, read_catalogue, read_local_catalogue
from lusifer.evaluate.benchmark.runner import BenchmarkEncoder, check_catalogue, run_jobs
from lusifer.evaluate.benchmark.scores import Outcome
from lusifer.evaluate.cli import app

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test waits for a network, there or not."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def encoder() -> BenchmarkEncoder:
    return BenchmarkEncoder(Embedder.load(), "r1")


def local_job(path: Path, kind: str) -> Job:
    [job] = read_local_catalogue(path).select([], [kind]).jobs()
    return job


def run(job: Job, encoder: BenchmarkEncoder, folder: Path) -> Outcome:
    [outcome] = run_jobs([job], encoder, folder)
    return outcome


def result_file(folder: Path, job: Job) -> Path:
    [path] = folder.rglob(f"results/**/{job.task}.json")
    return path


def test_all_133_names_resolve() -> None:
    catalogue = read_catalogue()
    check_catalogue(catalogue)
    for task in catalogue.tasks.values():
        splits = mteb.get_task(task.name).metadata.eval_splits
        # mteb 2 lists only dev for MSMARCO; the authors' rule took test when it was listed.
        assert task.split in splits or task.name == "MSMARCO"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "STS71"}, "STS71 as published"),
        ({"metric": "accuracy"}, "its main score is cosine_spearman, not accuracy"),
        ({"subsets": {"en": ("en-en", "en-xx")}}, "no subset en-xx"),
    ],
)
def test_a_task_that_differs_is_named(change: dict[str, Any], message: str) -> None:
    task = replace(read_catalogue().tasks["STS17"], **change)
    with pytest.raises(ConfigError, match=message):
        check_catalogue(Catalogue({task.name: task}, {}))


def test_every_kind_of_task_end_to_end(sentences_file: Path, tmp_path: Path) -> None:
    arguments = ["benchmark", "--local", str(sentences_file), "--output", str(tmp_path), "--devices", "cpu"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    [report] = tmp_path.glob("*-local.md")
    text = report.read_text(encoding="utf-8")
    assert text in first.stdout
    scores = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))["per_dataset"]
    assert [len(cells) for cells in scores.values()] == [5, 5, 5]
    for cells in scores.values():
        assert 0 < cells["LocalTopicClustering"] < 100
        # Chance is one in sixteen places, and no correlation.
        assert cells["LocalTranslationRetrieval"] > 80
        assert cells["LocalTranslationReranking"] > 80
        assert cells["LocalTranslationSTS"] > 50
        # Topics learnt from two sentences each are a coin with four sides.
        assert 0 < cells["LocalTopicClassification"] < 100

    again = CliRunner().invoke(app, arguments)
    assert again.stdout == first.stdout


def test_a_folder_that_cannot_be_written_is_named(sentences_file: Path) -> None:
    below_a_file = sentences_file / "results"
    result = CliRunner().invoke(
        app, ["benchmark", "--local", str(sentences_file), "--output", str(below_a_file)]
    )
    assert isinstance(result.exception, ConfigError)
    assert str(below_a_file) in result.exception.message


def test_a_stopped_run_goes_on(sentences_file: Path, tmp_path: Path, encoder: BenchmarkEncoder) -> None:
    job = local_job(sentences_file, "clustering")
    whole = run(job, encoder, tmp_path)
    path = result_file(tmp_path, job)
    stored = json.loads(path.read_text(encoding="utf-8"))
    kept = [row for row in stored["scores"]["test"] if row["hf_subset"] != "fi"]
    # Scores that cannot come out show that what is there is not measured again.
    for row in kept:
        row["main_score"] = 0.125
    path.write_text(json.dumps(stored | {"scores": {"test": kept}}), encoding="utf-8")
    assert run(job, encoder, tmp_path).scores == {"en": 0.125, "hi": 0.125, "fi": whole.scores["fi"]}
    path.write_text('{"task_name": "Loc', encoding="utf-8")
    assert run(job, encoder, tmp_path).scores == whole.scores, "half a file is measured again"
    stored = json.loads(path.read_text(encoding="utf-8"))
    for row in stored["scores"]["test"]:
        row["main_score"] = 0.125
    path.write_text(json.dumps(stored | {"dataset_revision": "former"}), encoding="utf-8")
    assert run(job, encoder, tmp_path).scores == whole.scores, "so is another revision"


def test_a_failing_subset_hides_no_other(
    sentences_file: Path, tmp_path: Path, encoder: BenchmarkEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = AbsTaskSTS.evaluate

    def fail_in_finnish(task: AbsTaskSTS, *arguments: Any, **options: Any) -> Any:
        if task.hf_subsets == ["fi"]:
            raise ValueError("no such thing\nand more")
        return measure(task, *arguments, **options)

    monkeypatch.setattr(AbsTaskSTS, "evaluate", fail_in_finnish)
    outcome = run(local_job(sentences_file, "STS"), encoder, tmp_path)
    assert outcome.scores.keys() == {"en", "hi"}
    assert outcome.failed == {"fi": "ValueError: no such thing"}


def test_what_cannot_be_fetched_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["benchmark", "--tasks", "STS17,MSMARCO", "--languages", "en,es", "--output", str(tmp_path)]
    )
    assert isinstance(result.exception, DataError)
    assert result.exception.message == "2 of 2 datasets could not be fetched: MSMARCO, STS17"
    assert "- STS17: ConnectionError: Couldn't reach" in result.stdout
    assert "| LUSIFER | 57.20 | 60.14 |  |" in result.stdout


def test_a_published_task_runs_as_published(
    tmp_path: Path, encoder: BenchmarkEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def load(**options: Any) -> DatasetDict:
        asked.append(options)
        rows = {
            "sentence1": ["कुत्ता सोता है", "बारिश पानी है", "कुत्ता सोता है"],
            "sentence2": ["कुत्ता सोता है", "बारिश का पानी", "बारिश का पानी"],
            "score": [1.0, 0.8, 0.0],
        }
        return DatasetDict({"test": Dataset.from_dict(rows)})

    monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", load)
    job = read_catalogue().select(["hi", "te"], ["SemRel24STS"]).jobs()[0]
    outcome = run(job, encoder, tmp_path)
    assert [options["name"] for options in asked] == ["hin", "tel"]
    assert outcome.scores == {"hin": pytest.approx(1.0), "tel": pytest.approx(1.0)}


def test_a_task_that_another_process_measures_comes_last(
    sentences_file: Path, tmp_path: Path, encoder: BenchmarkEncoder
) -> None:
    jobs = read_local_catalogue(sentences_file).select(["fi"], ["STS", "Reranking"]).jobs()
    (tmp_path / "locks").mkdir()
    other = FileLock(tmp_path / "locks" / jobs[0].task)
    other.acquire()
    outcomes = run_jobs(jobs, encoder, tmp_path)
    assert next(outcomes).task == jobs[1].task
    other.release()
    assert next(outcomes).task == jobs[0].task


class Recorder:
    """An embedder that notes what it is asked."""

    name, fingerprint, dimensions, max_tokens = "recorder", "0", 2, 8

    def __init__(self, prompts: Prompts) -> None:
        self.prompts = prompts
        self.config = self
        self.calls: list[tuple[str, list[str], str]] = []

    def embed_query(self, texts: list[str], instruction: str = "") -> np.ndarray:
        self.calls.append(("query", texts, instruction))
        return np.eye(2, dtype=np.float32)[: len(texts)]

    def embed_documents(self, texts: list[str], instruction: str = "") -> np.ndarray:
        self.calls.append(("document", texts, instruction))
        return np.eye(2, dtype=np.float32)[: len(texts)]


def test_instructions_go_where_the_model_takes_them() -> None:
    taking = Recorder(Prompts("<s>{instruction}.\n{text}</s>", "<s>{instruction}. Candidate:\n{text}</s>"))
    plain = Recorder(Prompts())
    for embedder in (taking, plain):
        encoder = BenchmarkEncoder(embedder, "r1")  # type: ignore[arg-type]
        encoder.instruction = "Compare."
        batches: Any = [{"text": ["a"]}, {"text": ["b"]}]
        for kind in (PromptType.query, PromptType.document, None):
            encoder.encode(batches, prompt_type=kind, task_metadata=None, hf_split="test", hf_subset="x")
    both = ["a", "b"]
    assert taking.calls == [
        ("query", both, "Compare."),
        ("document", both, "Compare."),
        ("query", both, "Compare."),
    ]
    assert plain.calls == [("query", both, ""), ("document", both, ""), ("query", both, "")]
