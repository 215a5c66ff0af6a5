"""Keep what was measured, one file a task, so that a run that was stopped goes on where it was.

Must not know mteb or models.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lusifer.evaluate.benchmark.catalogue import Job


@dataclass(slots=True)
class Record:
    """The scores of one task.

    Attributes:
        task: its name.
        split: the split that was scored.
        instruction: what the model was asked to do.
        revision: the revision of its dataset.
        scores: for each subset all that mteb measured, the version of mteb included.
        seconds: for each subset, how long it took, loading included.
    """

    task: str
    split: str
    instruction: str
    revision: str
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Records:
    """A folder of records of one model."""

    folder: Path

    def read(self, job: Job, revision: str) -> Record:
        """Return what is there of a job; nothing if it was measured otherwise than it would be now."""
        fresh = Record(job.task, job.split, job.instruction, revision)
        try:
            found = Record(**json.loads(self._path(job.task).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            # Nothing there, or no record of ours: it is measured again.
            return fresh
        same = (found.split, found.instruction, found.revision) == (job.split, job.instruction, revision)
        return found if same else fresh

    def write(self, record: Record) -> None:
        """Store a record; at any moment the file is the old one or the new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(record.task)
        part = path.with_suffix(f".{os.getpid()}.part")
        # Not asdict: it copies, and cannot copy the defaultdicts that mteb puts into scores.
        content = {entry.name: getattr(record, entry.name) for entry in fields(record)}
        text = json.dumps(content, indent=1, ensure_ascii=False, default=_plain)
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)

    def _path(self, task: str) -> Path:
        return self.folder / f"{task}.json"


def _plain(value: Any) -> Any:
    """Return numbers of numpy and torch, which some metrics come as, as Python's."""
    return value.tolist()
