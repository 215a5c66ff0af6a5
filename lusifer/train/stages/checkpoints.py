"""Save what a run has learnt so far, and go on from it exactly.

Only parameters that learn and their optimiser state are kept, each process its share
(torch.distributed.checkpoint). Must not know models, data or losses.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from lusifer.errors import CheckpointError, TrainingError
from lusifer.train.stages.processes import Processes

_LEARNT = StateDictOptions(ignore_frozen_params=True, strict=False)
_MARK = "step-"


class Checkpoints:
    """The checkpoints of a run, in ``RUN/checkpoints/step-000100``.

    A folder of that name is complete: it is written under another one first.

    Args:
        folder: of the run.
        keep: how many stay.
        processes: all take part in saving and loading.
    """

    def __init__(self, folder: Path, keep: int, processes: Processes) -> None:
        self._folder, self._keep, self._processes = folder / "checkpoints", keep, processes

    def save(self, step: int, module: nn.Module, optimiser: Optimizer) -> None:
        """Write the state after ``step`` steps; older ones beyond those kept go.

        Raises:
            CheckpointError: it cannot be written.
        """
        partial, final = self._folder / "partial", self._folder / f"{_MARK}{step:06d}"
        if self._processes.main:
            shutil.rmtree(partial, ignore_errors=True)
            self._folder.mkdir(parents=True, exist_ok=True)
        self._processes.wait()
        try:
            with _quiet():
                save(_state(module, optimiser), checkpoint_id=partial, no_dist=self._processes.count == 1)
        except (OSError, CheckpointException) as error:
            raise CheckpointError(
                f"{partial} cannot be written: {_reason(error)}", hint="make room, then start the run again"
            ) from error
        self._processes.wait()
        if self._processes.main:
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for old in self._all()[: -self._keep]:
                shutil.rmtree(old)
        self._processes.wait()

    def load(self, module: nn.Module, optimiser: Optimizer) -> int:
        """Bring module and optimiser to the newest state; return its step, 0 if there is none.

        Raises:
            CheckpointError: the newest checkpoint cannot be read.
        """
        found = self._all()
        if not found:
            return 0
        state = _state(module, optimiser)
        try:
            with _quiet():
                load(state, checkpoint_id=found[-1], no_dist=self._processes.count == 1)
        except (Exception, CheckpointException) as error:  # whatever a damaged one makes torch raise
            raise CheckpointError(
                f"{found[-1]} cannot be read: {_reason(error)}",
                hint="delete it to go on from the one before",
            ) from error
        set_state_dict(
            module,
            optimiser,
            model_state_dict=state["model"],
            optim_state_dict=state["optimiser"],
            options=_LEARNT,
        )
        return int(found[-1].name.removeprefix(_MARK))

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_MARK}*"))


def _state(module: nn.Module, optimiser: Optimizer) -> dict[str, Any]:
    model, optimisation = get_state_dict(module, optimiser, options=_LEARNT)
    return {"model": model, "optimiser": optimisation}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from warning that a single process has no process group."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _reason(error: BaseException) -> str:
    """Return the last line of an error, which for errors gathered from processes is the one that counts."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def keep_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write a run's settings at its beginning; refuse to go on with others.

    Raises:
        TrainingError: the run was begun with other settings; names them.
    """
    if not path.is_file():
        path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(
        name for name in settings.keys() | before.keys() if before.get(name) != settings.get(name)
    )
    if changed:
        raise TrainingError(
            f"the run in {path.parent} was begun with other settings ({', '.join(changed)} differ)",
            hint="give another run folder, or delete this one to begin anew",
        )
