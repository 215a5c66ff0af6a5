"""Find the benchmark's tasks in the installed mteb.

Must not know models or scores.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING

from lusifer.errors import ConfigError
from lusifer.evaluate.benchmark.catalogue import Catalogue, Job

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask

_EXTRA = "pip install 'lusifer-search[evaluate]'"


def require_mteb() -> str:
    """Return mteb's version.

    Raises:
        ConfigError: it is not installed, or is not of version 2.
    """
    if importlib.util.find_spec("mteb") is None:
        raise ConfigError("mteb is not installed", hint=f"install the extra: {_EXTRA}")
    found = version("mteb")
    if found.split(".")[0] != "2":
        raise ConfigError(f"mteb {found} is installed, the benchmark needs mteb 2", hint=f"run {_EXTRA}")
    return found


def open_task(job: Job, subset: str) -> AbsTask:
    """Return a fresh mteb task for one subset, nothing loaded yet.

    Fresh, since mteb's tasks draw samples from a generator of their own: so a score does not depend on what
    was run before it.
    """
    if job.source is not None:
        from lusifer.evaluate.benchmark.local_tasks import open_local_task

        return open_local_task(job, subset)
    from mteb import get_task

    return get_task(job.task, eval_splits=[job.split], hf_subsets=[subset])


def check_catalogue(catalogue: Catalogue) -> None:
    """See that the installed mteb has every task with its subsets and metric.

    Raises:
        ConfigError: it has not; the message names the first task that differs, and how.
    """
    for job in catalogue.jobs():
        try:
            metadata = open_task(job, job.subsets[0]).metadata
        except (KeyError, ValueError) as error:
            raise _differs(job.task, str(error)) from error
        if unknown := set(job.subsets) - set(metadata.hf_subsets):
            raise _differs(job.task, f"no subset {min(unknown)}")
        metric = catalogue.tasks[job.task].metric
        if metadata.main_score != metric:
            raise _differs(job.task, f"its main score is {metadata.main_score}, not {metric}")


def _differs(task: str, how: str) -> ConfigError:
    found = f"mteb {version('mteb')} does not have {task} as published"
    return ConfigError(f"{found}: {how}", hint=f"run {_EXTRA}")
