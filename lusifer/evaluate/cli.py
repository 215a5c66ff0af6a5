"""The ``lusifer evaluate`` commands: read arguments, call the measuring code, write results.

Must not know how anything is measured, and imports it only when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lusifer.evaluate.benchmark.command import benchmark

app = typer.Typer(help="Measure models.", no_args_is_help=True)


@app.callback()
def evaluate() -> None:
    """Measure models."""


app.command()(benchmark)


@app.command()
def retrieval(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder with sib200.jsonl and mlqa/.")],
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
    from lusifer.evaluate.datasets import read_parallel, read_questions
    from lusifer.evaluate.report import describe_run, to_markdown, write_results
    from lusifer.evaluate.retrieval import measure
    from lusifer.evaluate.systems import open_system

    sentences, questions = read_parallel(data / "sib200.jsonl"), read_questions(data / "mlqa")
    measured = []
    names: list[str | None] = [*model] if model else [None]
    for system in (open_system(name, context.obj or {}) for name in names):
        run = describe_run(system.name, system.fingerprint)
        measured.append({"run": run, **measure(system.retriever, sentences, questions)})
    results = measured[0] if len(measured) == 1 else {"systems": measured}
    typer.echo(to_markdown(results))
    for path in write_results(results, out, stem):
        typer.echo(f"wrote {path}", err=True)
