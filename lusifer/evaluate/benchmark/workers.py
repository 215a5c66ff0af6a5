"""Run jobs on one or several devices, a process for each when there are several.

Must not know what a job measures.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, cast

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
        LusiferError: the model cannot be loaded, or a process died; what was finished is kept.
    """
    if len(devices) == 1:
        yield from map(_Worker(model, devices[0], folder), jobs)
        return
    # Not a pool of the standard library: one kind waits for ever for a process that was killed, the other
    # cannot be interrupted before its jobs are done.
    waiting = deque(jobs)
    processes = [_Process(_Worker(model, device, folder)) for device in devices[: len(jobs)]]
    try:
        busy = {process.connection: process for process in processes}
        for process in processes:
            process.connection.send(waiting.popleft())
        while busy:
            for ready in wait(list(busy)):
                process = busy[cast("Connection", ready)]
                yield process.receive()
                if waiting:
                    process.connection.send(waiting.popleft())
                else:
                    del busy[process.connection]
    finally:
        for process in processes:
            process.stop()


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


class _Process:
    """A worker in a process of its own: send it a job, receive what came of it."""

    def __init__(self, worker: _Worker) -> None:
        # A forked process cannot use CUDA once its parent did; spawned ones always can.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(worker, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> tuple[Identity, Outcome]:
        """Return a result.

        Raises:
            LusiferError: the job could not be started, or the process died.
        """
        try:
            result: tuple[Identity, Outcome] | LusiferError = self.connection.recv()
        except EOFError as error:
            raise LusiferError(
                "a process of the benchmark died, perhaps for want of memory",
                hint="run the same command again: it goes on where it stopped",
            ) from error
        if isinstance(result, LusiferError):
            raise result
        return result

    def stop(self) -> None:
        """End it, whatever it is doing: records are never half written."""
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _serve(worker: _Worker, connection: Connection) -> None:
    """Run jobs until nobody sends any more."""
    # Ctrl-C reaches the whole group; the parent takes it and stops its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError):
        while True:
            job: Job = connection.recv()
            try:
                connection.send(worker(job))
            except LusiferError as error:
                connection.send(error)
