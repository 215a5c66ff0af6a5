"""Run jobs on one or several devices, a process for each when there are several.

Must not know what a job measures.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.embedder import Embedder
from lusifer.errors import LusiferError
from lusifer.evaluate.benchmark.catalogue import Job
from lusifer.evaluate.benchmark.outcome import Outcome
from lusifer.evaluate.benchmark.records import Records

if TYPE_CHECKING:
    from lusifer.evaluate.benchmark.encoder import BenchmarkEncoder


@dataclass(frozen=True, slots=True)
class Model:
    """Which model to load and how; the fields are ``Embedder.load``'s."""

    name: str | None = None
    dtype: str | None = None
    projected: bool = True

    def load(self, device: str | None = None) -> Embedder:
        """Load it."""
        return Embedder.load(self.name, device, self.dtype, projected=self.projected)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose scores they are: the model's name and fingerprint, and the number format if one was asked for."""

    name: str
    fingerprint: str
    dtype: str | None = None

    @property
    def stem(self) -> str:
        """A file name for it."""
        parts = (self.name.replace("/", "--"), self.fingerprint, self.dtype)
        return "-".join(part for part in parts if part)


def find_devices() -> list[str]:
    """Return every CUDA device there is, else the one best device."""
    import torch

    if count := torch.cuda.device_count():
        return [f"cuda:{index}" for index in range(count)]
    return ["mps" if torch.backends.mps.is_available() else "cpu"]


def run_jobs(
    jobs: Sequence[Job], model: Model, devices: Sequence[str], folder: Path
) -> Iterator[tuple[Identity, Outcome]]:
    """Run jobs and give each outcome as it comes, with the model it is of.

    Args:
        jobs: what to run.
        model: loaded once on each device, there only: it may be too large for anywhere else.
        devices: one runs here; for several, each gets a process.
        folder: the records are kept in it, in a folder for each model.

    Raises:
        LusiferError: a process died; what it had finished is kept.
    """
    if len(devices) == 1:
        worker = _Worker(model, devices[0], folder)
        yield from map(worker, jobs)
        return
    # A forked process cannot use CUDA once its parent did; spawned ones always can.
    context = multiprocessing.get_context("spawn")
    free: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(len(devices), context, _start, (model, free, folder)) as pool:
        try:
            for future in as_completed([pool.submit(_run, job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as error:
            raise LusiferError(
                "a process of the benchmark died, perhaps for want of memory",
                hint="run the same command again: it goes on where it stopped",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Worker:
    """A model on a device, loaded when its first job comes."""

    def __init__(self, model: Model, device: str, folder: Path) -> None:
        self._model, self._device, self._folder = model, device, folder
        self._ready: tuple[Identity, BenchmarkEncoder] | None = None

    def __call__(self, job: Job) -> tuple[Identity, Outcome]:
        if self._ready is None:
            self._ready = self._prepare()
        identity, encoder = self._ready

        from lusifer.evaluate.benchmark.runner import run_job

        return identity, run_job(job, encoder, Records(self._folder / identity.stem))

    def _prepare(self) -> tuple[Identity, BenchmarkEncoder]:
        # The model first: a wrong name is told before mteb takes seconds to import.
        embedder = self._model.load(self._device)

        from lusifer.evaluate.benchmark.encoder import BenchmarkEncoder

        identity = Identity(embedder.name, embedder.fingerprint, self._model.dtype)
        return identity, BenchmarkEncoder(embedder, self._device)


#: The worker of this process, where this is a process of the pool.
_here: list[_Worker] = []


def _start(model: Model, free: SimpleQueue[str], folder: Path) -> None:
    _here.append(_Worker(model, free.get(), folder))


def _run(job: Job) -> tuple[Identity, Outcome]:
    return _here[0](job)
