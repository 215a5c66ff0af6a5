"""Run one model for many callers: texts that come together are embedded in one call.

Callers may be threads (``embed_query``, ``embed_documents``) or coroutines (``submit``). Results do not
change: the vector of a text does not depend on what else is in a call.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from lusifer.config import PromptKind
from lusifer.embedder import TextEmbedder
from store.types import Vector

#: How much the latest call counts in the estimate of the time a text takes.
_SMOOTHING = 0.2


@dataclass(frozen=True, slots=True)
class _Job:
    texts: list[str]
    kind: PromptKind
    instruction: str
    #: When to embed it at the latest, if the model is free.
    due: float
    done: Future[Vector] = field(default_factory=Future)


class BatchedEmbedder:
    """A model that many callers use at once.

    Args:
        model: the model.
        executor: has one thread, in which the model runs; models that share it take turns.
        wait: seconds that texts wait for others to be embedded with. A folded table never waits: a call
            costs it next to nothing.
        size: most texts in one call; a caller with more gets a call of its own.

    Attributes:
        model: the model.
        seconds_per_text: how long a text takes, an estimate.
    """

    def __init__(
        self, model: TextEmbedder, executor: Executor, *, wait: float = 0.002, size: int = 256
    ) -> None:
        self.model = model
        self.seconds_per_text = 0.01
        self._executor = executor
        self._wait = 0.0 if model.config.folded else wait
        self._size = size
        self._waiting: deque[_Job] = deque()
        self._lock = threading.Lock()

    def embed_query(self, texts: list[str]) -> Vector:
        """Embed questions: one row each. Blocks."""
        return self.submit(texts, "query").result()

    def embed_documents(self, texts: list[str]) -> Vector:
        """Embed passages or sentences: one row each. Blocks."""
        return self.submit(texts, "document", wait=False).result()

    def submit(
        self, texts: list[str], kind: PromptKind, instruction: str = "", *, wait: bool = True
    ) -> Future[Vector]:
        """Embed texts soon; a caller that has left cancels the future, and its texts are left out."""
        job = _Job(texts, kind, instruction, time.monotonic() + (self._wait if wait else 0.0))
        with self._lock:
            self._waiting.append(job)
        self._executor.submit(self._run)
        return job.done

    def _run(self) -> None:
        """Embed what waits; called once for each job, in vain if an earlier call took it along."""
        jobs = self._take()
        if not jobs:
            return
        texts = [text for job in jobs for text in job.texts]
        embed = self.model.embed_query if jobs[0].kind == "query" else self.model.embed_documents
        began = time.perf_counter()
        try:
            rows = embed(texts, jobs[0].instruction) if jobs[0].instruction else embed(texts)
        except Exception as error:
            for job in jobs:
                job.done.set_exception(error)
            return
        seconds = (time.perf_counter() - began) / max(1, len(texts))
        self.seconds_per_text += _SMOOTHING * (seconds - self.seconds_per_text)
        first = 0
        for job in jobs:
            job.done.set_result(rows[first : first + len(job.texts)])
            first += len(job.texts)

    def _take(self) -> list[_Job]:
        """Take the jobs of the next call from the queue: the first one and those the model treats alike."""
        with self._lock:
            first = self._waiting[0] if self._waiting else None
        if first is None:
            return []
        time.sleep(max(0.0, first.due - time.monotonic()))
        jobs: list[_Job] = []
        others: deque[_Job] = deque()
        room = self._size
        with self._lock:
            for job in self._waiting:
                alike = (job.kind, job.instruction) == (first.kind, first.instruction)
                if job is first or (alike and len(job.texts) <= room):
                    jobs.append(job)
                    room -= len(job.texts)
                else:
                    others.append(job)
                    room = 0 if alike else room  # nobody overtakes one of the same kind
            self._waiting = others
        return [job for job in jobs if job.done.set_running_or_notify_cancel()]
