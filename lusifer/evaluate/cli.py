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
    data: Annotated[Path, typer.Argument(help="Folder with sib200.jsonl and mlqa/.")],
    model: Annotated[
        str | None, typer.Option(help="Model name or folder; without it, the shipped one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the JSON and Markdown go.")] = Path("benchmarks/results"),
    stem: Annotated[str, typer.Option(help="Name of the result files.")] = "retrieval",
) -> None:
    """Sentence retrieval, questions to paragraphs and mixed pools, without any network."""
    from lusifer.embedder import Embedder
    from lusifer.evaluate.datasets import read_parallel, read_questions
    from lusifer.evaluate.report import describe_run, to_markdown, write_results
    from lusifer.evaluate.retrieval import mixed_pool, question_retrieval, sentence_retrieval

    sentences, questions = read_parallel(data / "sib200.jsonl"), read_questions(data / "mlqa")
    embedder = Embedder.load(model)
    results = {
        "run": describe_run(embedder.name, embedder.fingerprint),
        "sentences": sentence_retrieval(embedder, sentences),
        "questions": question_retrieval(embedder, questions),
        "mixed": mixed_pool(embedder, questions),
    }
    typer.echo(to_markdown(results))
    for path in write_results(results, out, stem):
        typer.echo(f"wrote {path}", err=True)
