"""What all trainers share: settings from a TOML file, the folder of a run, learning rate, random state.

A run is a folder. It keeps the settings it was begun with and refuses others. Its files are written aside and
renamed, so that a run that is interrupted at any moment goes on from them.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from common.files import sync_folder, write_atomically
from lusifer.config import parse
from lusifer.errors import ConfigError, TrainingError

T = TypeVar("T")

#: Called with a line now and then.
Report = Callable[[str], None]
#: 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]
#: 0 or more, and less than 1: what is dropped is never everything.
Dropout = Annotated[float, Field(ge=0, lt=1)]
#: Seed of every run that names none.
SEED = 20250101


def silent(_: str) -> None:
    """Report nothing."""


def read_toml(path: Path, *, examples: Path) -> dict[str, Any]:
    """Return the content of a TOML file; ``examples`` is a folder of ready ones, for the message.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint=f"ready ones are in {examples}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="correct that line") from error


def make_settings(kind: type[T], values: Mapping[str, Any], source: Path | None = None) -> T:
    """Return a configuration made of a TOML file's values; ``source`` is the file, for messages.

    Raises:
        ConfigError: names the file and the first field that cannot be used.
    """
    try:
        return parse(kind, values)
    except ConfigError as error:
        if source is None:
            raise
        raise ConfigError(f"{source}: {error.message}", hint=error.hint) from error


class RunFolder:
    """The folder of one run.

    Args:
        path: made by ``begin``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path / "log.jsonl"

    def begin(self, settings: Mapping[str, Any], file: str = "settings.json") -> None:
        """Write down the settings of a new run, or compare them with those it was begun with.

        Args:
            settings: everything that decides the result, by name, as JSON has it.
            file: where they are kept.

        Raises:
            TrainingError: the run was begun with other settings; names them.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        kept = self.path / file
        if not kept.is_file():
            write_atomically(kept, json.dumps(settings, indent=1) + "\n")
            return
        before = json.loads(kept.read_text(encoding="utf-8"))
        changed = sorted(
            name for name in settings.keys() | before.keys() if before.get(name) != settings.get(name)
        )
        if changed:
            raise TrainingError(
                f"the run in {self.path} was begun with other settings ({', '.join(changed)} differ)",
                hint="give another run folder, or delete this one to begin again",
            )

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a line to ``log.jsonl``; its ``step`` is the number of steps taken."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def resume_log(self, steps: int) -> None:
        """Drop the lines of steps that are run again, when a run goes on after ``steps`` of them."""
        if self._log.is_file():
            lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= steps]
            write_atomically(self._log, "".join(kept))


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path to write a file to that takes the place of ``path`` at the end, if nothing went wrong."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def learning_rate(
    step: int,
    steps: int,
    *,
    peak: float,
    low: float = 0.0,
    warmup: float,
    fall: Literal["linear", "cosine"] = "cosine",
) -> float:
    """Return the rate at a step, from 0: a linear rise to the peak, then a fall to where it began.

    Args:
        step: which.
        steps: of the whole run.
        peak: the highest rate.
        low: where it begins and ends.
        warmup: share of the steps in which it rises; one step at least.
        fall: along a line, or along half a cosine.
    """
    warm = max(1, round(warmup * steps))
    if step < warm:
        return low + (peak - low) * (step + 1) / warm
    rest = max(1, steps - warm)
    if fall == "linear":
        return low + (peak - low) * max(0.0, (steps - step) / rest)
    return low + (peak - low) * (1 + math.cos(math.pi * ((step - warm) / rest))) / 2


def seed_all(*numbers: int) -> None:
    """Set torch's generators to a state that depends on these numbers only.

    Dropout is seeded by seed, step, process and chunk, so it needs no saved state: a resumed run, and the
    second forward pass of GradCache, draw it again.
    """
    import numpy as np
    import torch

    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]) << 32 | int(state[1]))
