"""What is measured: tasks with their instruction, split, metric and subsets for each language.

The paper's 133 tasks are listed in ``data/tasks.json``. A file of parallel sentences makes five small ones,
one of each kind: they show that everything works before days of computing, and measure a model on one's own
text.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from common.languages import CODES
from lusifer.errors import ConfigError, DataError
from lusifer.evaluate.datasets import ParallelSentences, read_parallel

Kind = Literal["Classification", "Clustering", "Reranking", "Retrieval", "STS"]
KINDS: tuple[Kind, ...] = ("Classification", "Clustering", "Reranking", "Retrieval", "STS")
Subsets = dict[str, tuple[str, ...]]

_DATA = Path(__file__).parent / "data" / "tasks.json"

CLASSIFICATION = "LocalTopicClassification"
CLUSTERING = "LocalTopicClustering"
RERANKING = "LocalTranslationReranking"
RETRIEVAL = "LocalTranslationRetrieval"
STS = "LocalTranslationSTS"
_LOCAL_TASKS: tuple[tuple[str, Kind, str, str], ...] = (
    (CLASSIFICATION, "Classification", "accuracy", "Identify the topic of the sentence."),
    (CLUSTERING, "Clustering", "v_measure", "Identify the topic of the sentence."),
    (RERANKING, "Reranking", "map_at_1000", "Given a sentence, retrieve its translation."),
    (RETRIEVAL, "Retrieval", "ndcg_at_10", "Given a sentence, retrieve its translation."),
    (STS, "STS", "cosine_spearman", "Retrieve semantically similar text."),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One dataset as the benchmark uses it.

    Attributes:
        name: its name in mteb's registry.
        kind: which of the paper's five kinds it counts as. Pair and multilabel classification are
            classification, summarisation is STS.
        metric: mteb's main score for it.
        split: the split that is scored.
        instruction: what the model is asked to do, in every language.
        subsets: for each language, the mteb subsets whose mean is its score; a subset of two languages
            counts for both.
        counted: whether it is part of its languages' means. The authors' code lists tasks that their tables
            do not have: those are measured but not counted.
    """

    name: str
    kind: Kind
    metric: str
    split: str
    instruction: str
    subsets: Subsets
    counted: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the cross-lingual table: the mean over languages of one task's scores."""

    task: str
    subsets: Subsets


@dataclass(frozen=True, slots=True)
class Job:
    """One task to run: its subsets in all languages wanted; ``source`` is a file when its data are local."""

    task: str
    split: str
    instruction: str
    subsets: tuple[str, ...]
    source: Path | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is measured.

    Attributes:
        tasks: by name.
        crosslingual: the columns of the cross-lingual table, by title.
        source: the file of local data, if they are.
        version: a digest of the whole list, and of local data; scores of another version do not count.
    """

    tasks: dict[str, Task]
    crosslingual: dict[str, Column]
    source: Path | None = None
    version: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that any task covers, in the usual order."""
        maps = [*(t.subsets for t in self.tasks.values()), *(c.subsets for c in self.crosslingual.values())]
        return tuple(code for code in CODES if any(code in part for part in maps))

    def tasks_of(self, language: str) -> list[Task]:
        """Return the tasks of one language."""
        return [task for task in self.tasks.values() if language in task.subsets]

    def select(self, languages: Sequence[str] = (), names: Sequence[str] = ()) -> Self:
        """Return what remains of the catalogue for some languages and some tasks.

        Args:
            languages: codes; empty for all.
            names: task names or kinds, in any case; empty for all.

        Raises:
            ConfigError: a language or task is not in the catalogue, or nothing remains.
        """
        wanted = _match("language", languages, self.languages) or set(self.languages)
        titles = _match("task", names, (*KINDS, *self.tasks)) or set(self.tasks)
        columns = {
            title: Column(column.task, _only(column.subsets, wanted))
            for title, column in self.crosslingual.items()
            if {column.task, self.tasks[column.task].kind} & titles and wanted & column.subsets.keys()
        }
        needed = {column.task for column in columns.values()}
        tasks = {
            name: replace(task, subsets=_only(task.subsets, wanted))
            for name, task in self.tasks.items()
            if {name, task.kind} & titles and (wanted & task.subsets.keys() or name in needed)
        }
        if not tasks:
            raise ConfigError(
                f"none of the tasks {', '.join(names)} is in {', '.join(languages)}",
                hint="lusifer evaluate benchmark --list shows which task covers which language",
            )
        return replace(self, tasks=tasks, crosslingual=columns)

    def jobs(self) -> list[Job]:
        """Return what is to be run, each subset once."""
        found: list[Job] = []
        for task in self.tasks.values():
            maps = [task.subsets, *(c.subsets for c in self.crosslingual.values() if c.task == task.name)]
            subsets = dict.fromkeys(subset for part in maps for group in part.values() for subset in group)
            found.append(Job(task.name, task.split, task.instruction, tuple(subsets), self.source))
        return found


def read_catalogue() -> Catalogue:
    """Return the benchmark of the paper."""
    content = _DATA.read_bytes()
    data = json.loads(content)
    tasks = {
        name: Task(name, **{**fields, "subsets": _subsets(fields["subsets"])})
        for name, fields in data["tasks"].items()
    }
    columns = {
        title: Column(fields["task"], _subsets(fields["subsets"]))
        for title, fields in data["crosslingual"].items()
    }
    return Catalogue(tasks, columns, version=digest(content))


def read_local_catalogue(path: Path) -> Catalogue:
    """Return the five tasks over the languages of a file of parallel sentences, one subset a language.

    Args:
        path: JSONL, each line ``{"en": …, "fi": …, "category": …}``.

    Raises:
        DataError: it is no such file.
    """
    subsets: Subsets = {code: (code,) for code in read_sentences(path).texts}
    tasks = {
        name: Task(name, kind, metric, "test", instruction, subsets, counted=True)
        for name, kind, metric, instruction in _LOCAL_TASKS
    }
    columns = {name: Column(name, subsets) for name in (RERANKING, RETRIEVAL, STS)}
    return Catalogue(tasks, columns, path, digest(path.read_bytes()))


def digest(content: bytes) -> str:
    """Return a short name for some content."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def read_sentences(path: Path) -> ParallelSentences:
    """Read the sentences; each topic must be there twice and there must be two topics.

    Raises:
        DataError: the file is missing, broken or has no such topics.
    """
    sentences = read_parallel(path)
    topics = set(sentences.topics)
    if len(topics) < 2 or any(sentences.topics.count(topic) < 2 for topic in topics):
        raise DataError(
            f"{path} needs two topics or more, with two sentences or more each",
            hint='each line is {"en": …, "fi": …, "category": …}',
        )
    return sentences


def _subsets(data: dict[str, list[str]]) -> Subsets:
    return {code: tuple(subsets) for code, subsets in data.items()}


def _only(subsets: Subsets, languages: Collection[str]) -> Subsets:
    return {code: group for code, group in subsets.items() if code in languages}


def _match(what: str, asked: Sequence[str], known: Sequence[str]) -> set[str]:
    """Return the known names that were asked for, in their own spelling."""
    spelling = {name.lower(): name for name in known}
    for name in asked:
        if name.lower() not in spelling:
            near = difflib.get_close_matches(name.lower(), spelling, 1)
            hint = f"did you mean {spelling[near[0]]}?" if near else "lusifer evaluate benchmark --list"
            raise ConfigError(f"the benchmark has no {what} {name}", hint=hint)
    return {spelling[name.lower()] for name in asked}
