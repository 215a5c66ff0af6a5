"""What came of one task: a score for each subset, or the reason why there is none.

Must not know what the subsets are.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Outcome:
    """The result of one task.

    Attributes:
        task: its name.
        scores: main score by subset, from 0 to 1 (correlations from -1).
        unfetched: subsets whose data could not be loaded, with the reason.
        failed: subsets that could not be measured, with the reason.
        seconds: how long it took, without what an earlier run had done.
    """

    task: str
    scores: dict[str, float] = field(default_factory=dict)
    unfetched: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def problem(self) -> str:
        """The first thing that went wrong, or nothing."""
        return next(iter((self.unfetched | self.failed).values()), "")
