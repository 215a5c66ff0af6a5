"""What a run did, as a value and as the object the command line prints. Must not know how runs work."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


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


def group_reasons(problems: list[Problem]) -> list[tuple[str, int]]:
    """Count files by reason, the most frequent first."""
    return Counter(problem.reason for problem in problems).most_common()


def printable(text: str) -> str:
    """Make a file's name or a library's words safe for a terminal: no control characters, one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
