"""Training data of the stages: JSON Lines files, checked line by line, and which records each step takes.

The files of a run are one numbered list. Which records a step takes is a pure function of the seed, the same
on every process and after a restart; a record is read from its file only then.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lusifer.errors import DataError
from lusifer.train.stages.settings import DataSettings, StageConfig, Task

Rows = NDArray[np.int64]

FIELDS = ("query", "text", "positive", "negative", "instruction", "cluster", "in_batch_negatives")


@dataclass(frozen=True, slots=True)
class Record:
    """One example.

    Attributes:
        query: a question; or just a text, for reconstruction.
        positives: passages that answer it.
        negatives: passages that look as if they did.
        instruction: what the model is asked to do; empty for the default.
        cluster: examples of one cluster come together in batches.
        in_batch_negatives: whether other examples' texts are negatives too; false where they may answer the
            query just as well, as in classification.
    """

    query: str
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    instruction: str = ""
    cluster: str = ""
    in_batch_negatives: bool = True


def parse_record(line: bytes) -> Record:
    """Read one line.

    Raises:
        ValueError: it is no record; says why.
    """
    try:
        data = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError("it is not a JSON object")
    unknown = sorted(data.keys() - set(FIELDS))
    if unknown:
        raise ValueError(f"the field {unknown[0]!r} is unknown")
    if ("query" in data) == ("text" in data):
        raise ValueError("it needs one of the fields 'query' and 'text'")
    flag = data.get("in_batch_negatives", True)
    if not isinstance(flag, bool):
        raise ValueError(f"'in_batch_negatives' is {flag!r}, not true or false")
    query = _text(data, "query" if "query" in data else "text")
    if not query.strip():
        raise ValueError("its text is empty")
    cluster = data.get("cluster", "")
    if not isinstance(cluster, str | int) or isinstance(cluster, bool):
        raise ValueError(f"'cluster' is {cluster!r}, not a string or a whole number")
    return Record(
        query,
        _texts(data, "positive"),
        _texts(data, "negative"),
        _text(data, "instruction"),
        str(cluster),
        flag,
    )


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {value!r}, not a string")
    return value


def _texts(data: dict[str, Any], name: str) -> tuple[str, ...]:
    value = data.get(name, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name!r} is neither a string nor a list of strings")
    if not all(text.strip() for text in texts):
        raise ValueError(f"{name!r} holds an empty text")
    return tuple(texts)


class RecordFile:
    """The records of one file, found by number without holding the file in memory.

    Args:
        path: JSON Lines, UTF-8; blank lines are passed over.
        limit: only so many records from the top.
        check: returns what is wrong with a record, or None.

    Attributes:
        path: the file.
        clusters: number of each record's cluster, ``(records,)``.

    Raises:
        DataError: the file cannot be read, holds no record, or a line is wrong; names file and line.
    """

    def __init__(self, path: Path, limit: int | None, check: Callable[[Record], str | None]) -> None:
        self.path = path
        starts: list[int] = []
        clusters: list[int] = []
        known: dict[str, int] = {}
        for start, number, line in _lines(path):
            try:
                record = parse_record(line)
                wrong = check(record)
            except ValueError as error:
                wrong = str(error)
            if wrong is not None:
                raise DataError(f"{path}, line {number}: {wrong}", hint="correct or remove the line")
            starts.append(start)
            clusters.append(known.setdefault(record.cluster, len(known)))
            if len(starts) == limit:
                break
        if not starts:
            raise DataError(f"{path} holds no records", hint="give a file of JSON objects, one a line")
        self._starts: NDArray[np.int64] = np.array(starts, np.int64)
        self.clusters: NDArray[np.int64] = np.array(clusters, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Record:
        with self.path.open("rb") as file:
            file.seek(int(self._starts[number]))
            line = file.readline()
        try:
            return parse_record(line)
        except ValueError as error:
            raise DataError(
                f"{self.path} was changed while it was in use: {error}", hint="start the run again"
            ) from None


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each line that is not blank starts, its number from 1, and the line."""
    position = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield position, number, line
                position += len(line)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error


class Plan:
    """Batches of records, epoch after epoch, each epoch in a new order.

    Args:
        groups: for each file, the cluster of each of its records; records are numbered through all files.
        batch: examples in a step.
        seed: of the order.
        together: batches of one file where possible, clusters side by side (the authors'
            ClusteringDataSampler); what is left over of the files makes mixed batches. False mixes all.

    Attributes:
        steps_per_epoch: full batches of an epoch; the few records left over differ each time.

    Raises:
        DataError: there are fewer records than a batch takes.
    """

    def __init__(self, groups: Sequence[Rows], batch: int, seed: int, *, together: bool) -> None:
        self._groups, self._batch, self._seed, self._together = list(groups), batch, seed, together
        total = sum(map(len, groups))
        self.steps_per_epoch = total // batch
        if not self.steps_per_epoch:
            raise DataError(
                f"the data holds {total} records, a batch takes {batch}",
                hint="give more data, or a smaller optimiser.batch",
            )
        self._epoch = -1
        self._order: Rows = np.empty((0, batch), np.int64)

    def __getitem__(self, step: int) -> Rows:
        """Return the numbers of a step's examples, ``(batch,)``."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._epoch, self._order = epoch, self._arrange(rng)
        row: Rows = self._order[place]
        return row

    def _arrange(self, rng: np.random.Generator) -> Rows:
        full: list[Rows] = []
        rest: list[Rows] = []
        first = 0
        for clusters in self._groups:
            rows = first + rng.permutation(len(clusters))
            if self._together:
                shuffled = rng.permutation(int(clusters.max()) + 1)
                rows = rows[np.argsort(shuffled[clusters[rows - first]], kind="stable")]
                whole = len(rows) // self._batch * self._batch
                full.append(rows[:whole])
                rest.append(rows[whole:])
            else:
                rest.append(rows)
            first += len(clusters)
        mixed = rng.permutation(np.concatenate(rest))
        full.append(mixed[: len(mixed) // self._batch * self._batch])
        batches = np.concatenate(full).reshape(-1, self._batch)
        return rng.permutation(batches)


#: Returns what makes a record useless for a task, or None.
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
