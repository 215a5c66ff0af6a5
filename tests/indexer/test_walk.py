from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from indexer.errors import UsageError
from indexer.walk import Walk, identify, is_within, resolve_roots, show_path, walk


def is_text(path: Path) -> bool:
    return path.suffix == ".txt"


def walk_all(*roots: Path, max_bytes: int = 1000, exclude: Path | None = None) -> Walk:
    return walk(resolve_roots(roots), accepts=is_text, max_bytes=max_bytes, exclude=exclude)


def names(found: Walk, root: Path) -> list[str]:
    return [str(file.file.relative_to(root)) for file in found.files]


def reasons(found: Walk) -> dict[str, str]:
    return {Path(rejected.path).name: rejected.reason for rejected in found.rejected}


def make(root: Path, *files: str, content: str = "x") -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_lists_files_in_order_of_path(tmp_path: Path) -> None:
    make(tmp_path, "b/z.txt", "a.txt", "b/a.txt", "c.txt")

    assert names(walk_all(tmp_path), tmp_path) == ["a.txt", "b/a.txt", "b/z.txt", "c.txt"]


def test_hidden_files_are_not_even_mentioned(tmp_path: Path) -> None:
    make(tmp_path, ".secret.txt", ".git/a.txt", "a.txt")

    found = walk_all(tmp_path)

    assert names(found, tmp_path) == ["a.txt"]
    assert found.rejected == []


def test_says_what_is_left_out_and_why(tmp_path: Path) -> None:
    make(tmp_path, "photo.jpg", "Makefile")
    make(tmp_path, "empty.txt", content="")
    make(tmp_path, "big.txt", content="x" * 2000)

    found = walk_all(tmp_path)

    assert reasons(found) == {
        "photo.jpg": "unsupported type .jpg",
        "Makefile": "unsupported type (no extension)",
        "empty.txt": "empty",
        "big.txt": "too large: 0.0 MB, the limit is 0.001 MB (LUSIFER_MAX_FILE_MEGABYTES)",
    }


def test_links_never_lead_astray(tmp_path: Path) -> None:
    make(tmp_path, "in/a.txt", "out/b.txt")
    root = tmp_path / "in"
    (root / "loop").symlink_to(root)
    (root / "folder").symlink_to(tmp_path / "out")
    (root / "file.txt").symlink_to(tmp_path / "out" / "b.txt")
    (root / "dead.txt").symlink_to(tmp_path / "nowhere")
    (root / "self.txt").symlink_to(root / "self.txt")

    found = walk_all(root)

    assert names(found, root) == ["a.txt", "file.txt"]
    assert set(reasons(found)) == {"loop", "folder", "dead.txt", "self.txt"}
    assert "name the folder itself" in reasons(found)["loop"]


def test_a_link_named_by_the_user_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert names(walk_all(tmp_path / "link"), tmp_path) == ["real/a.txt"]


def test_overlapping_roots_give_each_file_once(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c.txt")

    assert len(walk_all(tmp_path, tmp_path / "a", tmp_path / "a" / "b" / "c.txt").files) == 1


def test_missing_path_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lusifer remove"):
        resolve_roots([tmp_path / "gone"])


def test_ignore_files_hold_for_their_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "drafts/b.txt", "sub/a.txt", "sub/keep.txt", "sub/drafts/c.txt")
    (tmp_path / ".lusiferignore").write_text("drafts/\n")
    (tmp_path / "sub" / ".lusiferignore").write_text("# comment\n/a.txt\n")

    assert names(walk_all(tmp_path), tmp_path) == ["a.txt", "sub/keep.txt"]


def test_unreadable_ignore_file_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    (tmp_path / ".lusiferignore").write_bytes(b"\xff\xfe\x00")

    found = walk_all(tmp_path)

    assert names(found, tmp_path) == ["a.txt"]
    assert "patterns" in reasons(found)[".lusiferignore"]


def test_data_folder_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "data/b.txt")

    assert names(walk_all(tmp_path, exclude=tmp_path / "data"), tmp_path) == ["a.txt"]


def test_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.txt", "closed/b.txt")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = walk_all(tmp_path)

    assert [(Path(r.path).name, r.reason, r.unreadable) for r in found.rejected] == [
        ("closed", "cannot be read: permission denied", True)
    ]


def test_special_files_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")

    assert reasons(walk_all(tmp_path)) == {"pipe.txt": "not a regular file"}


def test_names_are_shown_composed_and_as_valid_text(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "été.txt")
    raw = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9\xff.txt"))

    assert show_path(tmp_path / decomposed).endswith("/été.txt")
    assert show_path(raw).endswith("/\\xe9\\xff.txt")
    show_path(raw).encode("utf-8")


def test_ids_tell_paths_apart(tmp_path: Path) -> None:
    composed, decomposed = (tmp_path / unicodedata.normalize(form, "é.txt") for form in ("NFC", "NFD"))

    assert identify(composed) != identify(decomposed)
    assert len(identify(composed)) == 32


def test_within_means_whole_names() -> None:
    assert is_within("/a/b/c", "/a/b")
    assert is_within("/a/b", "/a/b")
    assert is_within("/a", "/")
    assert not is_within("/a/bc", "/a/b")
