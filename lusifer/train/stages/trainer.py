"""The loop of either stage: rate, gradients, step, log, checkpoints, and the finished model."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import AdamW, Optimizer

from lusifer.errors import CheckpointError, ConfigError, TrainingError
from lusifer.train.run import Report, RunFolder, learning_rate, silent
from lusifer.train.stages.data import Check, Examples
from lusifer.train.stages.distributed import Processes, clip_gradients, whole_parameters
from lusifer.train.stages.export import check_publishable, write_model
from lusifer.train.stages.model import Built, build
from lusifer.train.stages.settings import StageConfig

C = TypeVar("C", bound=StageConfig)

_LEARNT = StateDictOptions(ignore_frozen_params=True, strict=False)
_MARK = "step-"


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


def run_stage(
    config: C,
    make: Callable[[C, Built, Examples, Processes], Stage],
    check: Check,
    report: Report,
    *,
    together: bool,
    head: bool,
) -> Path:
    """Train, or go on with a run that was interrupted; write the model.

    Args:
        config: the run.
        make: the stage, out of the built model, the examples and the processes.
        check: returns what makes a record useless for the stage, or None.
        report: called with a line now and then, on the main process.
        together: whether a batch comes from one file where possible.
        head: whether the stage needs the language model's token head.

    Returns:
        The folder of the model.

    Raises:
        ConfigError: the settings do not fit each other, the machine, the models or the output format.
        DataError: a data file cannot be read; names file and line.
        CheckpointError: a model or checkpoint cannot be read or written.
        TrainingError: the run was begun with other settings, or the loss is no number.
    """
    processes = Processes(config)
    if config.optimiser.batch % processes.count:
        raise ConfigError(
            f"optimiser.batch is {config.optimiser.batch}, which {processes.count} processes cannot share",
            hint=f"use a multiple of {processes.count}",
        )
    examples = Examples(config, check, together=together)
    built = build(config, head=head)
    stage = make(config, built, examples, processes)
    if config.output.format == "published":
        check_publishable(built.model.config)
    say = report if processes.main else silent
    say(f"{len(examples):,} examples, {stage.steps:,} steps on {processes.count} x {processes.device}")
    run = RunFolder(Path(config.run))
    if processes.main:
        run.begin(_result_settings(config))
    processes.wait()
    processes.start_trackers(config.name, {"run": config.run, "steps": stage.steps})
    _train(config, stage, processes, run, say)
    processes.end_trackers()
    parameters = whole_parameters(stage.module)
    folder = run.path / "model"
    if processes.main:
        write_model(folder, parameters, built.model.config, built.tokenizer, config)
        say(f"wrote {folder}")
    processes.wait()
    return folder


def _train(config: StageConfig, stage: Stage, processes: Processes, run: RunFolder, say: Report) -> None:
    """Take the steps that are left of a run."""
    settings, output = config.optimiser, config.output
    optimiser = AdamW(
        [parameter for parameter in stage.module.parameters() if parameter.requires_grad],
        settings.learning_rate,
        (settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
    )
    checkpoints = Checkpoints(run.path, output.keep, processes)
    start = checkpoints.load(stage.module, optimiser)
    if start:
        say(f"going on from step {start:,}")
    if processes.main:
        run.resume_log(start)
    began = time.monotonic()
    for step in range(start, stage.steps):
        rate = learning_rate(
            step,
            stage.steps,
            peak=settings.learning_rate,
            low=settings.min_learning_rate,
            warmup=settings.warmup,
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = stage.backward(step)
        norm = clip_gradients(stage.module, settings.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"at step {step + 1} the loss is {loss} and the gradient's norm {norm}",
                hint="lower optimiser.learning_rate, or use precision fp32",
            )
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        done, last = step + 1, step + 1 == stage.steps
        speed = (done - start) * settings.batch / (time.monotonic() - began)
        row = {"loss": loss, "learning_rate": rate, "gradient_norm": norm, "examples_per_second": speed}
        if processes.main:
            run.log({"step": done, **row})
        processes.track(row, done)
        if done % output.log_every == 0 or last or step == start:
            say(f"step {done:,}/{stage.steps:,}  loss {loss:.4f}  rate {rate:.2e}  {speed:,.1f} examples/s")
        if done % output.checkpoint_every == 0 or last:
            checkpoints.save(done, stage.module, optimiser)


def _result_settings(config: StageConfig) -> dict[str, object]:
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
        except (Exception, CheckpointException) as error:  # a damaged one makes torch raise many kinds
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
