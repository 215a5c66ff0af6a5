"""What the trainers share: a run's folder, its log, files that are there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lusifer import TrainingError
from lusifer.train.run import RunFolder, written_aside


def test_a_run_keeps_its_settings(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin({"seed": 1, "rate": 0.5})
    run.begin({"seed": 1, "rate": 0.5})
    for others, named in (
        ({"seed": 2, "rate": 0.5}, r"\(seed differ\)"),
        ({"seed": 1}, r"\(rate differ\)"),
        ({"seed": 1, "rate": 0.1, "more": None}, r"\(rate differ\)"),
    ):
        with pytest.raises(TrainingError, match=named):
            run.begin(others)
    assert json.loads((tmp_path / "run" / "settings.json").read_text(encoding="utf-8")) == {
        "seed": 1,
        "rate": 0.5,
    }


def test_the_log_of_steps_that_are_run_again_is_cut(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.resume_log(0)
    for step in (1, 2, 3):
        run.log({"step": step})
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 1')  # cut short when the process was killed
    run.resume_log(2)
    run.log({"step": 3, "again": True})
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("former", encoding="utf-8")

    def fail() -> None:
        with written_aside(path) as draft:
            draft.write_text("ha", encoding="utf-8")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert path.read_text(encoding="utf-8") == "former"
    with written_aside(path) as draft:
        draft.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]
