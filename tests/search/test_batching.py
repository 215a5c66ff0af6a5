"""Micro-batches: fewer calls, the same rows, every caller answered."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from search.batching import MicroBatcher
from store.types import Vector


def rows_of(texts: list[str]) -> Vector:
    return np.array([[len(text), ord(text[0])] for text in texts], np.float32).reshape(-1, 2)


class Recorder:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.threads: set[str] = set()

    def __call__(self, texts: list[str]) -> Vector:
        self.calls.append(texts)
        self.threads.add(threading.current_thread().name)
        if "fail" in texts:
            raise ValueError("refused")
        return rows_of(texts)


@pytest.fixture
def executor() -> ThreadPoolExecutor:
    with ThreadPoolExecutor(1, thread_name_prefix="embed") as pool:
        yield pool


def test_concurrent_questions_go_in_one_call_and_get_their_own_rows(executor: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    wanted = [[f"{chr(97 + i)}" * (i + 1)] for i in range(8)]

    async def ask() -> list[Vector]:
        batcher = MicroBatcher(recorder, executor, wait=0.02)
        return await asyncio.gather(*(batcher.embed(texts) for texts in wanted))

    answers = asyncio.run(ask())
    assert len(recorder.calls) == 1
    assert recorder.threads == {"embed_0"}
    for texts, answer in zip(wanted, answers, strict=True):
        np.testing.assert_array_equal(answer, rows_of(texts))


def test_what_arrives_while_the_model_is_busy_is_the_next_batch(executor: ThreadPoolExecutor) -> None:
    gate = threading.Event()
    calls: list[list[str]] = []

    def slow(texts: list[str]) -> Vector:
        calls.append(texts)
        gate.wait(5)
        return rows_of(texts)

    async def ask() -> None:
        batcher = MicroBatcher(slow, executor, wait=0)
        first = asyncio.create_task(batcher.embed(["a"]))
        while not calls:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.embed([text])) for text in "bcd"]
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(ask())
    assert calls == [["a"], ["b", "c", "d"]]


def test_keeps_to_the_batch_size(executor: ThreadPoolExecutor) -> None:
    recorder = Recorder()

    async def ask() -> list[Vector]:
        batcher = MicroBatcher(recorder, executor, wait=0.01, size=4)
        jobs = [["aa"] * 3, ["b"] * 3, ["c"], ["d"] * 9]
        return await asyncio.gather(*(batcher.embed(texts) for texts in jobs))

    assert [len(rows) for rows in asyncio.run(ask())] == [3, 3, 1, 9]
    assert [len(call) for call in recorder.calls] == [3, 4, 9]


def test_an_error_reaches_every_caller_of_the_batch_and_the_next_batch_works(
    executor: ThreadPoolExecutor,
) -> None:
    recorder = Recorder()

    async def ask() -> None:
        batcher = MicroBatcher(recorder, executor, wait=0.01)
        failed = await asyncio.gather(batcher.embed(["fail"]), batcher.embed(["b"]), return_exceptions=True)
        assert [type(error) for error in failed] == [ValueError, ValueError]
        assert (await batcher.embed(["c"])).shape == (1, 2)

    asyncio.run(ask())


def test_a_caller_that_gave_up_costs_the_others_nothing(executor: ThreadPoolExecutor) -> None:
    recorder = Recorder()

    async def ask() -> None:
        batcher = MicroBatcher(recorder, executor, wait=0.02)
        gone = asyncio.create_task(batcher.embed(["gone"]))
        stays = asyncio.create_task(batcher.embed(["b"]))
        await asyncio.sleep(0)
        gone.cancel()
        np.testing.assert_array_equal(await stays, rows_of(["b"]))
        await batcher.close()

    asyncio.run(ask())
    assert recorder.calls == [["b"]]
