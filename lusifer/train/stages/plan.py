"""Which examples make which step: a pure function of the seed, the same on every process and after a restart.

Must not know what examples are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lusifer.errors import DataError

Rows = NDArray[np.int64]


class Plan:
    """Batches of an epoch after epoch, each epoch in a new order.

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
