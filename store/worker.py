"""One thread that does one thing at a time, searches first.

Knows callables only. Must not know what they do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")
_Job = Callable[[], None]

#: Urgent jobs done in a row before one that can wait gets its turn.
URGENT_IN_A_ROW = 8


class Worker:
    """Runs jobs in its own thread. Urgent ones overtake others, but do not starve them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent: deque[_Job] = deque()
        self._patient: deque[_Job] = deque()
        self._in_a_row = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], _T], *, urgent: bool = False) -> _T:
        """Have a job done and wait for its result, or for what it raises."""
        future: Future[_T] = Future()

        def do() -> None:
            try:
                future.set_result(job())
            except BaseException as error:  # whatever it is, it belongs to the caller
                future.set_exception(error)

        with self._changed:
            if self._stopping:
                raise RuntimeError("the worker has stopped")
            (self._urgent if urgent else self._patient).append(do)
            self._changed.notify()
        return future.result()

    def stop(self) -> None:
        """Do what is waiting, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> _Job | None:
        with self._changed:
            while not (self._urgent or self._patient):
                if self._stopping:
                    return None
                self._changed.wait()
            if self._urgent and (not self._patient or self._in_a_row < URGENT_IN_A_ROW):
                self._in_a_row += 1
                return self._urgent.popleft()
            self._in_a_row = 0
            return self._patient.popleft()
