"""The data of a run: all its files as one numbered list, and which of them each step takes.

Must not know tensors or models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from lusifer.train.stages.plan import Plan
from lusifer.train.stages.records import Record, RecordFile
from lusifer.train.stages.settings import DataSettings, StageConfig, Task

Check = Callable[[Record, Task], str | None]


class Examples:
    """What each step of a run learns from.

    Args:
        config: the run.
        check: returns what makes a record useless for this stage, or None.
        together: whether a batch comes from one file where possible; see :class:`Plan`.

    Attributes:
        steps: of the whole run.

    Raises:
        DataError: a file cannot be read or a line is wrong; names both.
    """

    def __init__(self, config: StageConfig, check: Check, *, together: bool) -> None:
        self._settings = config.data
        self._files = [_open(item, check) for item in config.data]
        self._ends = list(accumulate(map(len, self._files)))
        optimiser = config.optimiser
        self._plan = Plan(
            [file.clusters for file in self._files], optimiser.batch, config.seed, together=together
        )
        self.steps = self._plan.steps_per_epoch * optimiser.epochs
        if optimiser.steps is not None:
            self.steps = min(self.steps, optimiser.steps)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, step: int) -> list[tuple[Record, Task]]:
        """Return a step's records, over all processes, each with the task of its file."""
        chosen = []
        for number in self._plan[step].tolist():
            place = bisect_right(self._ends, number)
            first = self._ends[place - 1] if place else 0
            chosen.append((self._files[place][number - first], self._settings[place].task))
        return chosen


def _open(item: DataSettings, check: Check) -> RecordFile:
    task = item.task
    return RecordFile(Path(item.path), item.limit, lambda record: check(record, task))
