"""What a run does, while it goes on and when it is done: counts, a progress display, the outcome in words."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from indexer.manifest import Record

#: Seconds between two lines where there is no terminal.
_INTERVAL = 5.0


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A file that is not in the index, and why.

    Attributes:
        path: as shown.
        reason: in words for the file's owner.
    """

    path: str
    reason: str


@dataclass(slots=True)
class Report:
    """The outcome of a run.

    Attributes:
        indexed: documents read and stored in this run.
        unchanged: documents that were indexed before and are as they were.
        deleted: documents that left the index because their files are gone.
        skipped: files left out on purpose.
        failed: files that cannot be read, found in this run or remembered from an earlier one.
        chunks: chunks embedded in this run.
        seconds: how long it took.
    """

    indexed: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    chunks: int = 0
    seconds: float = 0.0

    def note(self, record: Record) -> None:
        """Count a file that was not stored in this run."""
        if record.state == "indexed":
            self.unchanged += 1
        elif record.state == "failed":
            self.failed.append(Problem(record.path, record.reason))
        else:
            self.skipped.append(Problem(record.path, record.reason))

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        self.skipped.sort()
        self.failed.sort()
        return asdict(self) | {"seconds": round(self.seconds, 3)}

    def summarise(self) -> str:
        """Return the outcome in one line."""
        parts = [f"{self.indexed} indexed", f"{self.unchanged} unchanged", f"{self.deleted} deleted"]
        parts += [f"{len(self.skipped)} skipped", f"{len(self.failed)} failed"]
        rate = f" ({self.chunks / self.seconds:,.0f}/s)" if self.chunks and self.seconds else ""
        return f"{', '.join(parts)}; {self.chunks} chunks in {self.seconds:.1f} s{rate}"


def printable(text: str) -> str:
    """Make a file's name or a library's words safe for a terminal: no control characters, one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def describe_problems(skipped: list[Problem], failed: list[Problem]) -> Iterator[str]:
    """Yield lines about files that are not in the index: skipped ones by reason, failed ones each."""
    for reason, number in Counter(problem.reason for problem in skipped).most_common():
        yield f"Skipped       {number:,}: {printable(reason)}"
    for problem in failed:
        yield f"Failed        {printable(problem.path)}: {printable(problem.reason)}"


class Observer:
    """Hears how a run goes on; this one does nothing with it."""

    def replacing(self, model: str) -> None:
        """The whole index is being built again, beside the one that is searched."""

    def planned(self, files: int, size: int) -> None:
        """So many files, of so many bytes together, are going to be read."""

    def read(self, size: int) -> None:
        """A file of so many bytes was read."""

    def stored(self, chunks: int) -> None:
        """Chunks were embedded and stored. Called from the writer's thread."""


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
        yield Observer() if quiet else _Lines()


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
    return f"building the index again with {model}; until it is complete, the present one is searched"


class _Counter(Observer):
    """Counts files and chunks of a run."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._files = self._planned = self._chunks = 0

    def planned(self, files: int, size: int) -> None:  # noqa: ARG002 - for those who show bytes
        self._planned = files

    def read(self, size: int) -> None:  # noqa: ARG002
        self._files += 1

    def stored(self, chunks: int) -> None:
        self._chunks += chunks

    @property
    def files(self) -> str:
        return f"{self._files:,}/{self._planned:,} files"

    @property
    def chunks(self) -> str:
        return f"{self._chunks:,} chunks"

    @property
    def rate(self) -> str:
        seconds = max(time.monotonic() - self._started, 0.001)
        return f"{self._chunks / seconds:,.0f} chunks/s"


class _Bar(_Counter):
    """A bar that grows with the bytes read."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._task = progress.add_task("Looking for changes", total=None, files="", rate="")

    def replacing(self, model: str) -> None:
        self._progress.console.print(_replacing(model), markup=False)

    def planned(self, files: int, size: int) -> None:
        super().planned(files, size)
        self._progress.update(self._task, description="Indexing", total=max(size, 1))

    def read(self, size: int) -> None:
        super().read(size)
        self._progress.update(self._task, advance=size, files=self.files, rate=self.rate)

    def stored(self, chunks: int) -> None:
        super().stored(chunks)
        self._progress.update(self._task, rate=self.rate)


class _Lines(_Counter):
    """A line every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._told = time.monotonic()

    def replacing(self, model: str) -> None:
        print(_replacing(model), file=sys.stderr, flush=True)  # noqa: T201

    def read(self, size: int) -> None:
        super().read(size)
        if time.monotonic() - self._told >= _INTERVAL:
            self._told = time.monotonic()
            print(f"{self.files}, {self.chunks}, {self.rate}", file=sys.stderr, flush=True)  # noqa: T201
