"""The command ``lusifer evaluate benchmark``: read arguments, run, write both tables.

Imports no model and no mteb before it runs. Must not know how anything is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lusifer.evaluate.benchmark.catalogue import Catalogue
    from lusifer.evaluate.benchmark.outcome import Outcome
    from lusifer.evaluate.benchmark.workers import Model


def benchmark(  # one parameter for each option
    languages: Annotated[str, typer.Option(help="Codes, separated by commas; without it, all 14.")] = "",
    tasks: Annotated[str, typer.Option(help="Task names or kinds, separated by commas; all.")] = "",
    model: Annotated[
        str | None, typer.Option(help="Model name or folder; without it, the shipped one.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where results go and are found again.")] = Path(
        "runs/benchmark"
    ),
    devices: Annotated[
        str, typer.Option(help="cuda:0,cuda:1,… one process each; without it, all GPUs or the CPU.")
    ] = "",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    projected: Annotated[
        bool, typer.Option(help="With the output projection, or the pooled vectors before it.")
    ] = True,
    local: Annotated[
        Path | None, typer.Option(help="Five small tasks from a file of parallel sentences instead.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the tasks, checked against mteb.")] = False,
) -> None:
    """The benchmark of the LUSIFER paper: 133 datasets, 14 languages, its Tables 1 and 2."""
    from lusifer.evaluate.benchmark.catalogue import read_catalogue
    from lusifer.evaluate.benchmark.local import read_local_catalogue
    from lusifer.evaluate.benchmark.reach import go_offline_if_unreachable
    from lusifer.evaluate.benchmark.registry import check_catalogue, require_mteb
    from lusifer.evaluate.benchmark.tables import list_tasks
    from lusifer.evaluate.benchmark.workers import Model

    require_mteb()
    catalogue = read_local_catalogue(local) if local else read_catalogue()
    catalogue = catalogue.select(_split(languages), _split(tasks))
    if not show and local is None and not go_offline_if_unreachable():
        _say("the Hugging Face Hub cannot be reached: only datasets already on this machine can be measured")
    check_catalogue(catalogue)
    if show:
        typer.echo(list_tasks(catalogue))
        return
    _run(catalogue, Model(model, dtype, projected), _split(devices), output)


def _run(catalogue: Catalogue, model: Model, devices: list[str], output: Path) -> None:
    from lusifer.evaluate.benchmark.published import read_published
    from lusifer.evaluate.benchmark.registry import require_mteb
    from lusifer.evaluate.benchmark.scores import summarise
    from lusifer.evaluate.benchmark.tables import to_markdown
    from lusifer.evaluate.benchmark.workers import find_devices, run_jobs
    from lusifer.evaluate.report import describe_run

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"results cannot go to {output}: {error.strerror}", hint="give another folder with --output"
        ) from error
    jobs = catalogue.jobs()
    outcomes: list[Outcome] = []
    for identity, outcome in run_jobs(jobs, model, devices or find_devices(), output):  # noqa: B007
        outcomes.append(outcome)
        _say(f"[{len(outcomes)}/{len(jobs)}] {_line(outcome)}")
    published = read_published()
    report = {
        "run": {**describe_run(identity.name, identity.fingerprint), "mteb": require_mteb()},
        "datasets": "local" if catalogue.source else "published",
        **summarise(catalogue, outcomes, published),
    }
    text = to_markdown(report, catalogue, published)
    typer.echo(text)
    path = output / f"{identity.stem}{'-local' if catalogue.source else ''}.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    _say(f"wrote {path} and {path.with_suffix('.md')}")
    _complain(report["unfetched"], report["failed"], len(jobs))


def _line(outcome: Outcome) -> str:
    """Return one task's result in a line: the mean of its subsets, or the first thing that went wrong."""
    scores = list(outcome.scores.values())
    mean = f"{100 * sum(scores) / len(scores):.2f}, {outcome.seconds:.0f} s" if scores else "no score"
    return f"{outcome.task}: {mean}" + (f" ({outcome.problem})" if outcome.problem else "")


def _complain(unfetched: dict[str, str], failed: dict[str, str], count: int) -> None:
    """Fail if any score is missing, after everything else has been written."""
    parts = [
        f"{len(tasks)} of {count} datasets could not be {what}: {', '.join(tasks)}"
        for what, tasks in (("fetched", unfetched), ("measured", failed))
        if tasks
    ]
    if parts:
        raise DataError(
            "; ".join(parts),
            hint="the report says why; run the same command again: what was measured is kept",
        )


def _split(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def _say(line: str) -> None:
    typer.echo(line, err=True)
