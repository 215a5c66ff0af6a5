"""Measure dense, lexical and fused search on questions over paragraphs: does fusion pay, and how weighed?

    python benchmarks/hybrid_quality.py DATA [--model FOLDER] [--sweep]

DATA holds ``mlqa/`` as ``lusifer evaluate retrieval`` reads it. Uses the product's own analyser and fusion on
whole candidate lists, so it shows what the search does but for the limit on candidates. No randomness.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

import numpy as np

from lusifer import Embedder
from lusifer.evaluate.datasets import QuestionAnswering, read_questions
from lusifer.evaluate.metrics import ndcg_at, ranks, recall_at
from store.analyser import document_vector, query_vector
from store.fusion import DEFAULT_PARAMETERS, FusionParameters, coverage, damp

RESULTS = Path(__file__).parent / "results"


def lexical_scores(queries: list[str], passages: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return BM25 scores (queries, passages) and each query's ideal score, as the engines compute them."""
    postings: dict[int, list[tuple[int, float]]] = {}
    for row, passage in enumerate(passages):
        for index, weight in zip(*(part.tolist() for part in document_vector([passage])), strict=True):
            postings.setdefault(index, []).append((row, weight))
    scores = np.zeros((len(queries), len(passages)))
    ideal = np.zeros(len(queries))
    count = len(passages)
    for number, query in enumerate(queries):
        for index, importance in zip(*(part.tolist() for part in query_vector(query)), strict=True):
            rows = postings.get(index, [])
            idf = importance * np.log(1 + (count - len(rows) + 0.5) / (len(rows) + 0.5))
            ideal[number] += idf
            for row, weight in rows:
                scores[number, row] += idf * weight
    return scores, ideal


def fuse_all(
    dense: np.ndarray, lexical: np.ndarray, ideal: np.ndarray, parameters: FusionParameters
) -> np.ndarray:
    """Return fused scores (queries, passages), row by row as ``store.fusion.fuse`` orders them."""
    fused = np.empty_like(dense, dtype=np.float64)
    for row in range(len(dense)):
        damping = damp(lexical[row], ideal[row], parameters.full_coverage)
        if parameters.method == "convex":
            bonus = coverage(lexical[row], ideal[row])
            fused[row] = dense[row] + parameters.lexical_weight * damping * bonus
        else:
            k = parameters.rrf_constant
            own = (-dense[row]).argsort().argsort() + 1
            words = (-lexical[row]).argsort().argsort() + 1
            fused[row] = 1 / (k + own)
            fused[row] += parameters.lexical_weight * damping * np.where(lexical[row] > 0, 1 / (k + words), 0)
    return fused


def measure(positions: np.ndarray) -> dict[str, float]:
    return {
        "recall@1": recall_at(positions, 1),
        "recall@10": recall_at(positions, 10),
        "ndcg@10": ndcg_at(positions, 10),
    }


def score_pairs(model: Embedder, data: QuestionAnswering) -> dict[tuple[str, str], tuple[np.ndarray, ...]]:
    vectors = {code: model.embed_documents(list(group.values())) for code, group in data.paragraphs.items()}
    scored = {}
    for (asked, answered), questions in data.questions.items():
        columns = {pid: i for i, pid in enumerate(data.paragraphs[answered])}
        relevant = np.array([columns[pid] for pid in questions.relevant])
        dense = model.embed_query(questions.texts) @ vectors[answered].T
        lexical, ideal = lexical_scores(questions.texts, list(data.paragraphs[answered].values()))
        scored[asked, answered] = (dense, lexical, ideal, relevant)
    return scored


def summarise(
    scored: dict[tuple[str, str], tuple[np.ndarray, ...]], parameters: FusionParameters
) -> dict[str, dict[str, dict[str, float]]]:
    pairs: dict[str, dict[str, dict[str, float]]] = {}
    for (asked, answered), (dense, lexical, ideal, relevant) in scored.items():
        fused = fuse_all(dense, lexical, ideal, parameters)
        pairs[f"{asked}-{answered}"] = {
            "dense": measure(ranks(dense, relevant)),
            "lexical": measure(ranks(lexical, relevant)),
            "fused": measure(ranks(fused, relevant)),
        }
    return pairs


def mean(pairs: dict[str, dict[str, dict[str, float]]], kind: str, metric: str, *, same: bool) -> float:
    chosen = [p for p in pairs if (p.split("-")[0] == p.split("-")[1]) is same]
    return float(np.mean([pairs[p][kind][metric] for p in chosen]))


def sweep(
    scored: dict[tuple[str, str], tuple[np.ndarray, ...]],
) -> list[tuple[FusionParameters, float, float]]:
    grid = [
        FusionParameters(method=method, lexical_weight=weight, full_coverage=full)
        for method in ("convex", "rrf")
        for weight in (0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
        for full in (0.0, 0.3, 0.6, 1.0)
    ]
    rows = []
    for parameters in grid:
        pairs = summarise(scored, parameters)
        rows.append(
            (
                parameters,
                mean(pairs, "fused", "recall@10", same=True),
                mean(pairs, "fused", "recall@10", same=False),
            )
        )
    return sorted(rows, key=lambda row: -(row[1] + row[2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--sweep", action="store_true", help="try a grid of fusion parameters")
    arguments = parser.parse_args()
    model = Embedder.load(arguments.model)
    scored = score_pairs(model, read_questions(arguments.data / "mlqa"))
    if arguments.sweep:
        for parameters, same, cross in sweep(scored):
            print(f"{same:.3f} {cross:.3f} {parameters}")
        return
    pairs = summarise(scored, DEFAULT_PARAMETERS)
    lines = [
        f"# Dense, lexical and fused search, {model.name} ({model.fingerprint})",
        "",
        "`python benchmarks/hybrid_quality.py DATA` on MLQA dev, "
        f"{platform.machine()}, Python {platform.python_version()}; {DEFAULT_PARAMETERS}.",
        "",
        "| pairs | metric | dense | lexical | fused |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for same in (True, False):
        for metric in ("recall@1", "recall@10", "ndcg@10"):
            cells = " | ".join(
                f"{mean(pairs, kind, metric, same=same):.3f}" for kind in ("dense", "lexical", "fused")
            )
            lines.append(f"| {'one language' if same else 'two languages'} | {metric} | {cells} |")
    for pair in sorted(pairs):
        cells = " | ".join(f"{pairs[pair][kind]['recall@10']:.3f}" for kind in ("dense", "lexical", "fused"))
        lines.append(f"| {pair} | recall@10 | {cells} |")
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hybrid_quality.md").write_text(text, encoding="utf-8")
    record = {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "parameters": repr(DEFAULT_PARAMETERS),
        "pairs": pairs,
    }
    (RESULTS / "hybrid_quality.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
