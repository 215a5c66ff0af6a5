"""How a run is shown while it goes on: a bar on a terminal, lines elsewhere. Standard error only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indexer.pipeline import Observer, Silent

if TYPE_CHECKING:
    from rich.progress import Progress

_INTERVAL = 5.0


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Observer]:
    """Give an observer that suits standard error: a bar with rate and time left, plain lines, or nothing.

    Args:
        quiet: whether plain lines are unwanted, because a program reads the outcome.
    """
    if sys.stderr.isatty():
        with _make_bar() as progress:
            yield _Bar(progress)
    else:
        yield Silent() if quiet else _Lines()


def _make_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[files]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )


def _replacing(model: str) -> str:
    return f"making the index anew with {model}; until it is complete, the one there is is searched"


class _Counter:
    """Counts files, bytes and chunks of a run."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._files = self._planned = self._chunks = 0

    def planned(self, files: int, size: int) -> None:  # noqa: ARG002 - the protocol's signature
        self._planned = files

    def read(self, name: str, size: int) -> None:  # noqa: ARG002
        self._files += 1

    def stored(self, chunks: int) -> None:
        self._chunks += chunks

    def replacing(self, model: str) -> None:
        print(_replacing(model), file=sys.stderr, flush=True)  # noqa: T201

    @property
    def files(self) -> str:
        return f"{self._files:,}/{self._planned:,} files"

    @property
    def rate(self) -> str:
        seconds = max(time.monotonic() - self._started, 0.001)
        return f"{self._chunks / seconds:,.0f} chunks/s"


class _Bar(_Counter):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._task = progress.add_task("Looking for changes", total=None, files="", rate="")

    def replacing(self, model: str) -> None:
        self._progress.console.print(_replacing(model), markup=False)

    def planned(self, files: int, size: int) -> None:
        super().planned(files, size)
        self._progress.update(self._task, description="Indexing", total=max(size, 1))

    def read(self, name: str, size: int) -> None:
        super().read(name, size)
        self._progress.update(self._task, advance=size, files=self.files, rate=self.rate)

    def stored(self, chunks: int) -> None:
        super().stored(chunks)
        self._progress.update(self._task, rate=self.rate)


class _Lines(_Counter):
    def __init__(self) -> None:
        super().__init__()
        self._told = time.monotonic()

    def read(self, name: str, size: int) -> None:
        super().read(name, size)
        if time.monotonic() - self._told >= _INTERVAL:
            self._told = time.monotonic()
            print(f"{self.files}, {self._chunks:,} chunks, {self.rate}", file=sys.stderr, flush=True)  # noqa: T201
