"""Run the experiment: train every variant, measure each language before and after, keep what is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.zero_shot.data import EnglishText, make_alignment_data, make_pair_data, read_english
from benchmarks.zero_shot.models import (
    VARIANTS,
    EnglishModel,
    Variant,
    choose_what_learns,
    join,
    learned,
)
from benchmarks.zero_shot.training import ZeroShotSettings, align, finetune, precision
from common.files import write_atomically
from lusifer.config import PromptKind
from lusifer.embedder import Embedder
from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering
from lusifer.evaluate.retrieval import Encoder, question_retrieval, sentence_retrieval
from lusifer.model import Lusifer
from lusifer.torch_backend import TorchBackend
from lusifer.train.run import Report, RunFolder, written_aside
from lusifer.train.stages.model import open_encoder

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one experiment is made of.

    Attributes:
        data: folder of the English text.
        encoder: the folder of a folded model, or the name of the shipped one.
        english: a sentence-transformers folder.
        run: where everything is kept; an interrupted experiment goes on there, variant by variant.
        sentences: parallel sentences to measure with.
        questions: questions and paragraphs to measure with.
        settings: of the training.
        device: where it is done.
    """

    data: Path
    encoder: str
    english: Path
    run: Path
    sentences: ParallelSentences
    questions: QuestionAnswering
    settings: ZeroShotSettings
    device: torch.device


class Experiment:
    """All rows of the result, made one after another.

    Raises:
        ConfigError: the models do not fit.
        DataError: there is no text.
        TrainingError: the run folder belongs to an experiment with other settings.
    """

    def __init__(self, task: Task, report: Report) -> None:
        self._task, self._report = task, report
        self._part = open_encoder(task.encoder, torch.float32)
        self._english = EnglishModel(task.english, task.device)
        self.alone = Embedder.load(task.encoder)
        sizes = [len(next(iter(task.sentences.texts.values())))]
        sizes += [len(group) for group in task.questions.paragraphs.values()]
        self.described: dict[str, Any] = {
            "encoder": f"{self.alone.name} {self.alone.fingerprint}",
            "english": self._english.name,
            "pools": sizes,
            **task.settings.to_dict(),
        }
        RunFolder(task.run).begin(self.described)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row: its ``name``, ``sentences`` and ``questions`` as measured, and ``training``."""
        yield self._row("encoder alone", lambda: (self.alone, {}))
        yield self._row("English model alone", lambda: (Remembering(self._read_english), {}))
        for variant in VARIANTS:
            yield self._row(variant.name, partial(self._trained, variant))

    def _read_english(self, texts: Sequence[str], _: PromptKind) -> Vectors:
        with precision(self._task.device):
            return self._english.embed_documents(list(texts))

    def _row(self, name: str, make: Callable[[], tuple[Encoder, dict[str, Any]]]) -> dict[str, Any]:
        path = self._task.run / "rows" / f"{name.replace(' ', '-').replace(',', '')}.json"
        if not path.is_file():
            system, training = make()
            self._report(f"measuring: {name}")
            row = {
                "name": name,
                "training": training,
                "sentences": sentence_retrieval(system, self._task.sentences),
                "questions": question_retrieval(system, self._task.questions),
            }
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(row))
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self._report(f"{name}: {kept['sentences']['mean']:.3f} against English")
        return kept

    def _trained(self, variant: Variant) -> tuple[Encoder, dict[str, Any]]:
        task, settings = self._task, self._task.settings
        model = join(self._part, self._english, settings.seed)
        training: dict[str, Any] = {"variant": asdict(variant)}
        if variant.align:
            choose_what_learns(model, variant, None, settings.seed)
            training["alignment"] = self._once(
                f"aligned{'-with-encoder' if variant.encoder else ''}",
                model,
                lambda: align(model, self._alignment, settings, self._report),
            )
        if variant.finetune:
            lora = settings.lora if variant.lora else None
            choose_what_learns(model, variant, lora, settings.seed)
            training["finetuning"] = self._once(
                variant.name, model, lambda: finetune(model, self._pairs, settings, self._report)
            )
        backend = TorchBackend(model, self._part.tokenizer, task.device)

        def read(texts: Sequence[str], kind: PromptKind) -> Vectors:
            with precision(task.device):
                return backend.embed(texts, kind)

        return Remembering(read), training

    def _once(self, name: str, model: Lusifer, stage: Callable[[], list[float]]) -> dict[str, float]:
        """Run a stage, or load what it has learnt before; return its first and last loss."""
        path = self._task.run / f"{name.replace(' ', '-').replace(',', '')}.safetensors"
        numbers = path.with_suffix(".json")
        if not numbers.is_file():
            self._report(f"training: {name}")
            losses = stage()
            with written_aside(path) as draft:
                save_file({key: value.cpu().contiguous() for key, value in learned(model).items()}, draft)
            tenth = max(1, len(losses) // 10)
            ends = {"first": float(np.mean(losses[:tenth])), "last": float(np.mean(losses[-tenth:]))}
            write_atomically(numbers, json.dumps(ends))
        model.load_state_dict(load_file(path), strict=False)
        found: dict[str, float] = json.loads(numbers.read_text(encoding="utf-8"))
        return found

    @cached_property
    def _text(self) -> EnglishText:
        settings = self._task.settings
        cache = self._task.run / "english.json"
        return read_english(self._task.data, cache, characters=settings.characters, seed=settings.seed)

    @cached_property
    def _alignment(self) -> Any:
        settings, config = self._task.settings, join(self._part, self._english, 0).config
        texts = self._text.sentences[: settings.align_steps * settings.texts]
        path = self._task.run / "english-vectors.safetensors"
        if not path.is_file():
            self._report(f"reading {len(texts):,} sentences with the English model")
            with precision(self._task.device), written_aside(path) as draft:
                save_file({"vectors": self._english.embed(texts)}, draft)
        targets = load_file(path)["vectors"]
        return make_alignment_data(texts, targets, self._english, self._part.tokenizer, config)

    @cached_property
    def _pairs(self) -> Any:
        config = join(self._part, self._english, 0).config
        return make_pair_data(self._text.pairs, self._part.tokenizer, config)


class Remembering:
    """An encoder that reads no text twice: the same questions are asked of paragraphs in five languages."""

    def __init__(self, read: Callable[[Sequence[str], PromptKind], Vectors]) -> None:
        self._read = read
        self._known: dict[tuple[PromptKind, str], Vectors] = {}

    def embed_documents(self, texts: list[str]) -> Vectors:
        """Return unit vectors of passages."""
        return self._embed(texts, "document")

    def embed_query(self, texts: list[str]) -> Vectors:
        """Return unit vectors of questions."""
        return self._embed(texts, "query")

    def _embed(self, texts: list[str], kind: PromptKind) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if (kind, text) not in self._known]
        if new:
            self._known.update(zip([(kind, text) for text in new], self._read(new, kind), strict=True))
        return np.stack([self._known[kind, text] for text in texts])


def shorten(
    sentences: ParallelSentences, questions: QuestionAnswering, rows: int, paragraphs: int
) -> tuple[ParallelSentences, QuestionAnswering]:
    """Keep the first sentences, and of each language the first paragraphs with their questions.

    Args:
        sentences: all.
        questions: all.
        rows: sentences kept in each language; 0 for all.
        paragraphs: kept in each language; 0 for all.
    """
    few = ParallelSentences(
        {code: texts[: rows or None] for code, texts in sentences.texts.items()},
        sentences.topics[: rows or None],
    )
    kept = {
        code: dict(list(group.items())[: paragraphs or None]) for code, group in questions.paragraphs.items()
    }
    asked = {}
    for (question, answer), group in questions.questions.items():
        chosen = [row for row, pid in enumerate(group.relevant) if pid in kept[answer]]
        if chosen:
            asked[question, answer] = replace(
                group,
                ids=[group.ids[row] for row in chosen],
                texts=[group.texts[row] for row in chosen],
                relevant=[group.relevant[row] for row in chosen],
            )
    return few, QuestionAnswering(kept, asked)
