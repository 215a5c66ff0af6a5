"""Batches: fewer calls, the same rows, every caller answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np
import pytest

from search.batching import BatchedEmbedder
from store.types import Vector
from tests.doubles import WordModel


def rows_of(texts: list[str]) -> Vector:
    return np.array([[len(text), ord(text[0])] for text in texts], np.float32).reshape(-1, 2)


class Recorder(WordModel):
    """Remembers its calls; stands still until told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, list[str]]] = []
        self.threads: set[str] = set()
        self.started = threading.Event()
        self.go = threading.Event()

    def embed_query(self, texts: list[str], instruction: str = "") -> Vector:
        return self._record("query", instruction, texts)

    def embed_documents(self, texts: list[str], instruction: str = "") -> Vector:
        return self._record("document", instruction, texts)

    def _record(self, kind: str, instruction: str, texts: list[str]) -> Vector:
        self.asked.append((kind, instruction, texts))
        self.threads.add(threading.current_thread().name)
        self.started.set()
        self.go.wait(10)
        if "fail" in texts:
            raise ValueError("refused")
        return rows_of(texts)

    @property
    def texts(self) -> list[list[str]]:
        return [texts for _, _, texts in self.asked]


@pytest.fixture
def model() -> Recorder:
    return Recorder()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="embed") as pool:
        yield pool


@pytest.fixture
def batched(model: Recorder, executor: ThreadPoolExecutor) -> BatchedEmbedder:
    """The model, busy with a first text until ``model.go`` is set."""
    batched = BatchedEmbedder(model, executor, wait=0, size=4)
    batched.submit(["first"], "query")
    assert model.started.wait(10)
    return batched


def test_what_arrives_while_the_model_is_busy_goes_in_one_call(
    batched: BatchedEmbedder, model: Recorder
) -> None:
    wanted = [[f"{chr(97 + i)}" * (i + 1)] for i in range(4)]
    answers = [batched.submit(texts, "query") for texts in wanted]
    model.go.set()
    for texts, answer in zip(wanted, answers, strict=True):
        np.testing.assert_array_equal(answer.result(10), rows_of(texts))
    assert model.texts == [["first"], [text for texts in wanted for text in texts]]
    assert model.threads == {"embed_0"}


def test_questions_wait_for_company_and_tables_do_not(model: Recorder, executor: ThreadPoolExecutor) -> None:
    model.go.set()
    slow = BatchedEmbedder(model, executor, wait=0.5)
    wait([slow.submit(["a"], "query"), slow.submit(["b"], "query")], 10)
    assert model.texts == [["a", "b"]]
    model.config = replace(model.config, folded=True)
    table = BatchedEmbedder(model, executor, wait=3600)
    np.testing.assert_array_equal(table.submit(["c"], "query").result(10), rows_of(["c"]))


def test_kinds_and_instructions_are_not_mixed(batched: BatchedEmbedder, model: Recorder) -> None:
    jobs = [
        batched.submit(["a"], "query"),
        batched.submit(["b"], "document"),
        batched.submit(["c"], "query", "Find it"),
        batched.submit(["d"], "query"),
    ]
    model.go.set()
    wait(jobs, 10)
    assert model.asked[1:] == [
        ("query", "", ["a", "d"]),
        ("document", "", ["b"]),
        ("query", "Find it", ["c"]),
    ]


def test_keeps_to_the_batch_size(batched: BatchedEmbedder, model: Recorder) -> None:
    jobs = [batched.submit(texts, "query") for texts in (["aa"] * 3, ["b"] * 3, ["c"], ["d"] * 9)]
    model.go.set()
    assert [len(job.result(10)) for job in jobs] == [3, 3, 1, 9]
    assert [len(texts) for texts in model.texts[1:]] == [3, 4, 9]


def test_an_error_reaches_every_caller_of_the_batch_and_the_next_batch_works(
    batched: BatchedEmbedder, model: Recorder
) -> None:
    failed = [batched.submit(["fail"], "query"), batched.submit(["b"], "query")]
    model.go.set()
    for job in failed:
        with pytest.raises(ValueError, match="refused"):
            job.result(10)
    assert batched.submit(["c"], "query").result(10).shape == (1, 2)


def test_a_caller_that_gave_up_costs_the_others_nothing(batched: BatchedEmbedder, model: Recorder) -> None:
    async def ask() -> None:
        gone = asyncio.wrap_future(batched.submit(["gone"], "query"))
        stays = asyncio.wrap_future(batched.submit(["b"], "query"))
        gone.cancel()
        await asyncio.sleep(0)
        model.go.set()
        np.testing.assert_array_equal(await stays, rows_of(["b"]))
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(ask())
    assert model.texts == [["first"], ["b"]]


def test_threads_call_it_like_a_model(batched: BatchedEmbedder, model: Recorder) -> None:
    model.go.set()
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda text: batched.embed_documents([text]), ["a", "bb", "ccc"]))
    assert [row[0, 0] for row in rows] == [1, 2, 3]
