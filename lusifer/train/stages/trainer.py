"""The loop of either stage: rate, gradients, step, log, checkpoints, and the finished model.

Must not know what the stages compute.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import AdamW, Optimizer

from lusifer.errors import CheckpointError, ConfigError, TrainingError
from lusifer.train.stages.distributed import Processes, clip_gradients, whole_parameters
from lusifer.train.stages.export import check_publishable, write_model
from lusifer.train.stages.model import Built
from lusifer.train.stages.settings import OptimiserSettings, StageConfig

# Save what a run has learnt so far, and go on from it exactly.


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


Report = Callable[[str], None]


class Stage(Protocol):
    """What a stage brings.

    Attributes:
        module: what is trained, spread over the processes.
        steps: of the whole run.
    """

    module: nn.Module
    steps: int

    def backward(self, step: int) -> float:
        """Leave the gradients of a step in ``module``; return its loss over all processes."""
        ...


def learning_rate(step: int, steps: int, settings: OptimiserSettings) -> float:
    """Return the rate at a step: a linear rise to the peak, then half a cosine down to where it began."""
    low, high = settings.min_learning_rate, settings.learning_rate
    warm = max(1, round(settings.warmup * steps))
    if step < warm:
        return low + (high - low) * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def seed_all(*numbers: int) -> None:
    """Set torch's generators to a state that depends on these numbers only.

    Dropout is seeded by seed, step, process and chunk, so it needs no saved state: a resumed run, and the
    second forward pass of GradCache, draw it again.
    """
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]) << 32 | int(state[1]))


def check_batch(config: StageConfig, processes: Processes) -> None:
    """Refuse a batch that cannot be shared out evenly.

    Raises:
        ConfigError: names the batch and the number of processes.
    """
    if config.optimiser.batch % processes.count:
        raise ConfigError(
            f"optimiser.batch is {config.optimiser.batch}, which {processes.count} processes cannot share",
            hint=f"use a multiple of {processes.count}",
        )


def run_stage(config: StageConfig, stage: Stage, built: Built, processes: Processes, report: Report) -> Path:
    """Train, or go on with a run that was interrupted; write the model.

    Args:
        config: the run.
        stage: computes gradients.
        built: the model inside ``stage.module``.
        processes: all run this.
        report: called with a line now and then, on the main process.

    Returns:
        The folder of the model.

    Raises:
        TrainingError: the run was begun with other settings, or the loss is no number.
        CheckpointError: a checkpoint cannot be read or written.
        ConfigError: the model has no place in the format asked for.
    """
    if config.output.format == "published":
        check_publishable(built.model.config)
    folder = Path(config.run)
    if processes.main:
        folder.mkdir(parents=True, exist_ok=True)
        keep_settings(folder / "settings.json", _described(config))
    processes.wait()
    optimiser = _make_optimiser(stage.module, config.optimiser)
    checkpoints = Checkpoints(folder, config.output.keep, processes)
    start = checkpoints.load(stage.module, optimiser)
    say = report if processes.main else _silent
    if start:
        say(f"going on from step {start:,}")
    processes.start_trackers(config.name, {"run": config.run, "steps": stage.steps})
    _loop(config, stage, optimiser, checkpoints, processes, start, say)
    processes.end_trackers()
    parameters = whole_parameters(stage.module)
    if processes.main:
        write_model(folder / "model", parameters, built.model.config, built.tokenizer, config)
        say(f"wrote {folder / 'model'}")
    processes.wait()
    return folder / "model"


def _make_optimiser(module: nn.Module, settings: OptimiserSettings) -> Optimizer:
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    betas = (settings.beta1, settings.beta2)
    return AdamW(learning, settings.learning_rate, betas, weight_decay=settings.weight_decay)


def _loop(
    config: StageConfig,
    stage: Stage,
    optimiser: Optimizer,
    checkpoints: Checkpoints,
    processes: Processes,
    start: int,
    say: Report,
) -> None:
    log = Path(config.run) / "log.jsonl"
    if processes.main:
        _cut_log(log, start)
    began = time.monotonic()
    for step in range(start, stage.steps):
        rate = learning_rate(step, stage.steps, config.optimiser)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = stage.backward(step)
        norm = clip_gradients(stage.module, config.optimiser.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"at step {step + 1} the loss is {loss} and the gradient's norm {norm}",
                hint="lower optimiser.learning_rate, or use precision fp32",
            )
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        done, last = step + 1, step + 1 == stage.steps
        speed = (done - start) * config.optimiser.batch / (time.monotonic() - began)
        row = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "examples_per_second": speed}
        if processes.main:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": done, **row}) + "\n")
        processes.track(row, done)
        if done % config.output.log_every == 0 or last or step == start:
            say(f"step {done:,}/{stage.steps:,}  loss {loss:.4f}  rate {rate:.2e}  {speed:,.1f} examples/s")
        if done % config.output.checkpoint_every == 0 or last:
            checkpoints.save(done, stage.module, optimiser)


def _cut_log(path: Path, steps: int) -> None:
    """Drop lines of steps that are run again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= steps]
        path.write_text("".join(kept), encoding="utf-8")


def _described(config: StageConfig) -> dict[str, object]:
    """Return what decides a run's result; how it is logged and spread may change when it goes on."""
    result: dict[str, object] = {}
    for name, value in asdict(config).items():
        if name in ("run", "output", "name"):
            continue
        if isinstance(value, dict):
            result |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            result[name] = value
    for name in ("device", "parallel"):
        del result[f"hardware.{name}"]
    return result


def _silent(_: str) -> None:
    pass
