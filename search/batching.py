"""Embed texts of concurrent requests together, off the event loop.

Texts that arrive within a few milliseconds, or while the model is busy, go to it in one call. Knows nothing
of searches; must not change results: the model promises that a row does not depend on its batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from store.types import Vector


@dataclass(frozen=True, slots=True)
class _Job:
    texts: list[str]
    done: asyncio.Future[Vector]


class MicroBatcher:
    """Collects texts of concurrent callers and embeds them in one call.

    Args:
        embed: maps n texts to an array of n rows; runs in ``executor``, never twice at a time.
        executor: where ``embed`` runs.
        wait: seconds to wait for company after the first text of a batch.
        size: most texts in one call; a caller with more gets a call of its own.
    """

    def __init__(
        self,
        embed: Callable[[list[str]], Vector],
        executor: Executor,
        *,
        wait: float = 0.002,
        size: int = 512,
    ) -> None:
        self._embed = embed
        self._executor = executor
        self._wait = wait
        self._size = size
        self._waiting: deque[_Job] = deque()
        self._drainer: asyncio.Task[None] | None = None

    async def embed(self, texts: list[str]) -> Vector:
        """Embed texts: one row each, in their order."""
        job = _Job(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._drainer is None or self._drainer.done():
            self._drainer = asyncio.create_task(self._drain())
        return await job.done

    async def _drain(self) -> None:
        if self._wait:
            await asyncio.sleep(self._wait)
        while self._waiting:
            jobs = self._take()
            if jobs:
                await self._run(jobs)

    def _take(self) -> list[_Job]:
        """Remove the jobs of the next call from the queue, leaving out those given up by their callers."""
        jobs: list[_Job] = []
        count = 0
        while self._waiting and (not jobs or count + len(self._waiting[0].texts) <= self._size):
            job = self._waiting.popleft()
            if not job.done.done():
                jobs.append(job)
                count += len(job.texts)
        return jobs

    async def _run(self, jobs: list[_Job]) -> None:
        texts = [text for job in jobs for text in job.texts]
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._executor, self._embed, texts)
        except Exception as error:
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(error)
            return
        first = 0
        for job in jobs:
            if not job.done.done():
                job.done.set_result(rows[first : first + len(job.texts)])
            first += len(job.texts)

    async def close(self) -> None:
        """Finish what was asked for."""
        if self._drainer is not None:
            await self._drainer
