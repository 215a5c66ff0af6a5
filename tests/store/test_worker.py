"""The worker: one job at a time, searches first, nobody starves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from store.daemon.server import PATIENCE, Worker


def submit_in_order(worker: Worker, jobs: list[tuple[str, bool]]) -> list[str]:
    """Queue jobs behind one that blocks, then let them run; return the order they ran in."""
    gate, blocked = threading.Event(), threading.Event()
    ran: list[str] = []

    def block() -> None:
        blocked.set()
        gate.wait(10)

    with ThreadPoolExecutor(len(jobs) + 1) as pool:
        pool.submit(worker.run, block)
        blocked.wait(10)
        for count, (name, urgent) in enumerate(jobs, 1):
            pool.submit(worker.run, lambda name=name: ran.append(name), urgent=urgent)
            while worker.waiting < count:
                pass
        gate.set()
    return ran


def test_urgent_jobs_overtake() -> None:
    worker = Worker()
    assert submit_in_order(
        worker, [("write", False), ("search", True), ("write", False), ("search", True)]
    ) == [
        "search",
        "search",
        "write",
        "write",
    ]
    worker.stop()


def test_patient_jobs_do_not_starve() -> None:
    worker = Worker()
    ran = submit_in_order(worker, [("write", False)] + [("search", True)] * (PATIENCE + 5))
    assert ran.index("write") == PATIENCE
    worker.stop()


def test_searches_wait_for_one_write_at_a_time() -> None:
    worker = Worker()
    jobs = [("write", False)] * 3 + [("search", True)] * (2 * PATIENCE + 1)
    ran = submit_in_order(worker, jobs)
    assert [place for place, name in enumerate(ran) if name == "write"] == [
        PATIENCE,
        2 * PATIENCE + 1,
        2 * PATIENCE + 3,
    ]
    worker.stop()


def test_writes_long_past_do_not_count_against_later_ones() -> None:
    worker = Worker()
    for _ in range(100):
        worker.run(lambda: None)
    assert submit_in_order(worker, [("write", False)] + [("search", True)] * 20).index("write") == PATIENCE
    for _ in range(100):
        worker.run(lambda: None, urgent=True)
    assert submit_in_order(worker, [("write", False), ("search", True)]) == ["search", "write"]
    worker.stop()


def test_errors_belong_to_the_caller() -> None:
    class Panic(BaseException):
        pass

    def fail() -> None:
        raise Panic

    worker = Worker()
    with pytest.raises(Panic):
        worker.run(fail)
    assert worker.run(lambda: 5) == 5
    worker.stop()


def test_stopping_finishes_what_waits_and_refuses_more() -> None:
    worker = Worker()
    ran: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: worker.run(lambda: ran.append(n)), range(20)))
    worker.stop()
    assert sorted(ran) == list(range(20))
    with pytest.raises(RuntimeError):
        worker.run(lambda: None)
