"""The ``lusifer evaluate`` commands: read arguments, measure, write results.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lusifer.errors import ConfigError, DataError, needs_extra

if TYPE_CHECKING:
    from lusifer.evaluate.benchmark.catalogue import Catalogue
    from lusifer.evaluate.benchmark.scores import Outcome
    from lusifer.evaluate.retrieval import Scorer, System

_EXTRA = "pip install 'lusifer-search[evaluate]'"
_HUB_SECONDS = 10.0


app = typer.Typer(help="Measure models.", no_args_is_help=True)


@app.callback()
def evaluate() -> None:
    """Measure models."""


@app.command()
def retrieval(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder with sib200.jsonl, mlqa/ and, perhaps, questions/.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model name or folder, of ours or of sentence-transformers, or bm25; repeat it to compare. "
            "Without it, the shipped model."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the JSON and Markdown go.")] = Path("benchmarks/results"),
    stem: Annotated[str, typer.Option(help="Name of the result files.")] = "retrieval",
) -> None:
    """Sentence retrieval, questions to paragraphs and mixed pools, without any network."""
    from lusifer.evaluate.datasets import read_native_questions, read_parallel, read_questions
    from lusifer.evaluate.report import describe_run, to_markdown, write_results
    from lusifer.evaluate.retrieval import measure, native_pool, scattered_pool

    sentences, questions = read_parallel(data / "sib200.jsonl"), read_questions(data / "mlqa")
    native = read_native_questions(data / "questions") if (data / "questions").is_dir() else None
    measured = []
    names: list[str | None] = [*model] if model else [None]
    for name in names:
        # Systems without vectors come from whoever runs these commands, by name.
        system = open_system(name, context.obj or {})
        run = describe_run(system.name, system.fingerprint)
        row = {"run": run, **measure(system.retriever, sentences, questions)}
        row["scattered"] = scattered_pool(system.retriever, questions)
        if native is not None:
            row["native"] = native_pool(system.retriever, native)
        measured.append(row)
    results = measured[0] if len(measured) == 1 else {"systems": measured}
    typer.echo(to_markdown(results))
    for path in write_results(results, out, stem):
        _say(f"wrote {path}")


def open_system(name: str | None, scorers: Mapping[str, Callable[[], Scorer]]) -> System:
    """Open what is to be measured: one of ``scorers``, a sentence-transformers folder, or one of our models.

    Args:
        name: of a scorer, a folder, or what ``Embedder.load`` takes.
        scorers: systems without vectors by name; opened when they are asked for.

    Raises:
        LusiferError: there is no such system, or it cannot be read.
    """
    from lusifer.evaluate.retrieval import System

    if name is not None and name in scorers:
        scorer = scorers[name]()
        return System(name, scorer.fingerprint, scorer)
    if name is not None and (Path(name) / "modules.json").is_file():
        with needs_extra("models", f"the model {name}"):
            from lusifer.sentence_transformers import SentenceTransformer

        model = SentenceTransformer(Path(name))
        return System(model.name, model.fingerprint, model)
    from lusifer.embedder import Embedder

    embedder = Embedder.load(name)
    return System(embedder.name, embedder.fingerprint, embedder)


@app.command()
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
        str | None,
        typer.Option(help="cpu, cuda:1, …; without it, the best. One command for each GPU."),
    ] = None,
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
    from lusifer.evaluate.benchmark.catalogue import read_catalogue, read_local_catalogue
    from lusifer.evaluate.benchmark.tables import list_tasks

    require_mteb()
    catalogue = read_local_catalogue(local) if local else read_catalogue()
    catalogue = catalogue.select(_split(languages), _split(tasks))
    if not show and local is None and not go_offline_if_unreachable():
        _say("the Hugging Face Hub cannot be reached: only datasets already on this machine can be measured")
    if devices and "," in devices:
        raise ConfigError(
            f"--devices names several ({devices}), but a process measures on one",
            hint="start the same command once for each, into one --output: they share the tasks out",
        )
    if show:
        from lusifer.evaluate.benchmark.runner import check_catalogue

        check_catalogue(catalogue)
        typer.echo(list_tasks(catalogue))
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"results cannot go to {output}: {error.strerror}", hint="give another folder with --output"
        ) from error
    _run(catalogue, output, model, devices, dtype, projected)


def _run(
    catalogue: Catalogue,
    output: Path,
    name: str | None,
    device: str | None,
    dtype: str | None,
    projected: bool,
) -> None:
    from lusifer.embedder import Embedder
    from lusifer.evaluate.benchmark.scores import read_published, summarise
    from lusifer.evaluate.benchmark.tables import to_markdown
    from lusifer.evaluate.report import describe_run

    # The model first: a wrong name is told before mteb takes seconds to import.
    embedder = Embedder.load(name, device, dtype, projected=projected)

    from lusifer.evaluate.benchmark.runner import BenchmarkEncoder, check_catalogue, run_jobs
    from lusifer.torch_backend import choose_device

    check_catalogue(catalogue)
    identity = "-".join(part for part in (embedder.fingerprint, dtype) if part)
    encoder = BenchmarkEncoder(embedder, f"{identity}-{catalogue.version}", str(choose_device(device)))
    jobs = catalogue.jobs()
    outcomes: list[Outcome] = []
    for outcome in run_jobs(jobs, encoder, output):
        outcomes.append(outcome)
        _say(f"[{len(outcomes)}/{len(jobs)}] {_line(outcome)}")
    published = read_published()
    report = {
        "run": {**describe_run(embedder.name, embedder.fingerprint), "mteb": require_mteb()},
        "datasets": "local" if catalogue.source else "published",
        **summarise(catalogue, outcomes, published),
    }
    text = to_markdown(report, catalogue, published)
    typer.echo(text)
    stem = f"{embedder.name.replace('/', '--')}-{identity}{'-local' if catalogue.source else ''}"
    path = output / f"{stem}.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    _say(f"wrote {path} and {path.with_suffix('.md')}")
    _complain(report["unfetched"], report["failed"], len(jobs))


def _line(outcome: Outcome) -> str:
    """Return one task's result in a line: the mean of its subsets, or the first thing that went wrong."""
    scores = list(outcome.scores.values())
    mean = f"{100 * sum(scores) / len(scores):.2f}" if scores else "no score"
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


def go_offline_if_unreachable() -> bool:
    """Switch the Hugging Face libraries to what is on this machine if their hub does not answer.

    They retry for half a minute before they give up on a dataset, an hour for all of them. Call this before
    any of them is imported.

    Returns:
        Whether datasets can be downloaded.
    """
    import httpx

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        httpx.head(endpoint, timeout=_HUB_SECONDS)
    except httpx.HTTPError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return False
    return True


def _split(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def _say(line: str) -> None:
    typer.echo(line, err=True)


def selftest(
    languages: Annotated[
        list[str] | None, typer.Argument(help="Codes of your languages, such as en sw; without any, all.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model name or folder; without it, the shipped model.")
    ] = None,
) -> None:
    """Say how well the installed model works for your languages, in seconds."""
    import time

    from lusifer.embedder import load_model
    from lusifer.evaluate.retrieval import describe_selftest, run_selftest

    embedder = load_model(model or "")
    started = time.perf_counter()
    outcome = run_selftest(embedder, languages or ())
    typer.echo(describe_selftest(outcome, embedder.name, time.perf_counter() - started))
