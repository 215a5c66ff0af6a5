"""The command line: exit codes, messages, quick start."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

import lusifer.errors
import store.errors
from app.cli.embed import read_lines, write_vectors
from app.cli.hints import COMMANDS, remedy
from app.cli.main import cli, main
from app.settings import Settings
from common.errors import HintedError
from store.errors import StoreMissing

pytestmark = pytest.mark.slow  # runs whole commands

if TYPE_CHECKING:
    from tests.doubles import MemoryStore, WordModel

HEAVY = ("torch", "transformers", "uvicorn", "fastapi", "qdrant_client", "qdrant_edge", "tokenizers")


@pytest.fixture
def doubles(make_index, store: MemoryStore, monkeypatch, tmp_path: Path) -> MemoryStore:
    monkeypatch.setenv("LUSIFER_DATA", str(tmp_path))
    monkeypatch.setattr(Settings, "search_index", make_index)
    return store


def run_main(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["lusifer", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LUSIFER_QDRANT_URL", "http://127.0.0.1:99999", "not the address of a Qdrant server"),
        ("LUSIFER_QDRANT_URL", "http://[::1", "not the address of a Qdrant server"),
        ("LUSIFER_COLLECTION", "a/b", "at most 180 characters"),
    ],
)
def test_what_is_no_place_of_a_store_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv("LUSIFER_QDRANT_URL", "http://localhost:6333")
    monkeypatch.setenv(name, value)
    code, out, err = run_main(monkeypatch, capsys, "status", "--data", str(tmp_path))
    assert (code, out) == (2, "")
    assert said in err


def run_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def test_help_names_every_command_and_needs_no_heavy_library() -> None:
    probe = (
        "import sys; sys.argv = ['lusifer', '--help']\n"
        "from app.cli.main import main\n"
        "try: main()\n"
        f"finally: sys.stderr.write(','.join(name for name in {HEAVY} if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True
    )
    for command in ("index", "search", "serve", "status", "remove", "embed"):
        assert command in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["index", "search", "serve", "status", "remove", "embed"])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.output.startswith("lusifer-search 0.")


def test_search_prints_the_api_object(doubles: MemoryStore, monkeypatch, capsys) -> None:
    arguments = ["search", "bees in winter", "--json", "-l", "ar", "--language", "fa", "--limit", "1"]
    code, out, err = run_main(monkeypatch, capsys, *arguments)
    body = json.loads(out)
    assert (code, err) == (0, "")
    assert list(body)[:3] == ["query", "language", "total"]
    assert body["total"] == 2
    assert len(body["hits"]) == 1
    assert "النحل" in out or "زنبور" in out
    assert doubles.closed


def test_search_takes_a_relative_folder(doubles: MemoryStore, monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run_main(monkeypatch, capsys, "search", "bees", "--folder", "sub")
    assert doubles.queries[-2].filter.path_prefix == (tmp_path / "sub").resolve().as_posix()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", ""], "error: The question is empty"),
        (["search", "bees", "-l", "de"], "error: Unknown language 'de'"),
        (["search", "bees", "--limit", "1000"], "error: limit is 1000; it has to be at most 50"),
        (["search", "bees", "--limit", "many"], "--limit"),
        (["search"], "QUERY"),
        (["nonsense"], "nonsense"),
        (["embed", "--as", "poem"], "poem"),
    ],
)
def test_wrong_usage_ends_with_2(
    doubles: MemoryStore, monkeypatch, capsys, arguments: list[str], message: str
) -> None:
    code, out, err = run_main(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert out == ""


def test_an_error_is_two_lines_and_ends_with_1(tmp_path: Path) -> None:
    done = run_process("search", "bees", "--data", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2


@pytest.mark.parametrize("command", [["search", "bees"], ["index", "."], ["status"], ["serve"]])
def test_a_wrong_setting_is_wrong_usage_in_every_command(monkeypatch, capsys, command: list[str]) -> None:
    monkeypatch.setenv("LUSIFER_MAX_FILE_MEGABYTES", "many")
    code, _, err = run_main(monkeypatch, capsys, *command)
    assert code == 2
    assert "error: The setting max_file_megabytes cannot be used" in err
    assert "hint: Correct LUSIFER_MAX_FILE_MEGABYTES." in err


def test_control_characters_in_an_error_are_escaped(monkeypatch, capsys) -> None:
    monkeypatch.setattr(Settings, "search_index", lambda _: (_ for _ in ()).throw(HintedError("a\x1b[2Jb")))
    assert run_main(monkeypatch, capsys, "search", "bees")[2] == "error: a\\x1b[2Jb\n"


def test_every_command_named_in_a_hint_is_that_of_an_error() -> None:
    names = {
        kind.__name__
        for module in (store.errors, lusifer.errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, HintedError)
    }
    assert set(COMMANDS) <= names


def test_a_hint_names_the_command_once() -> None:
    assert remedy(StoreMissing("gone", hint="Index some.")) == "Index some. Run `lusifer index PATH`."
    assert remedy(StoreMissing("gone", hint="run lusifer index DOCS")) == "run lusifer index DOCS"
    assert remedy(HintedError("odd")) == ""


def test_a_model_that_is_gone_has_a_way_out(monkeypatch, capsys, tmp_path: Path) -> None:
    document = tmp_path / "a.txt"
    document.write_text("Bees in winter.")
    monkeypatch.setenv("LUSIFER_DATA", str(tmp_path / "data"))

    code, _, errors = run_main(monkeypatch, capsys, "index", str(document), "--model", f"{tmp_path}/gone")

    assert code == 1
    assert f"there is no model folder {tmp_path}/gone" in errors
    assert "owner/name. Where" in errors
    assert "`lusifer index --model lusifer-mini`" in errors


@pytest.mark.slow
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3"])
def test_serve_refuses_others_without_a_key(host: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LUSIFER_API_KEY"}
    done = run_process("serve", "--host", host, "--port", "0", env=environment)
    assert done.returncode == 2
    assert "LUSIFER_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_ends_with_130(monkeypatch, capsys) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Settings, "search_index", interrupt)
    assert run_main(monkeypatch, capsys, "search", "bees")[0] == 130


def test_a_port_in_use_is_an_error(doubles: MemoryStore, monkeypatch, capsys) -> None:
    import socket

    monkeypatch.setattr("app.log.configure_logging", lambda _: None)  # it is the test runner's process
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = run_main(monkeypatch, capsys, "serve", "--port", port)
    assert code == 1
    assert f"port {port}" in err
    assert "--port" in err


def test_embeds_each_line_even_an_empty_one(model: WordModel) -> None:
    lines = read_lines(io.BytesIO("\ufeffbees\r\n\nنحل\nlast".encode()))
    assert lines == ["bees", "", "نحل", "last"]
    for kind, embed in (("query", model.embed_query), ("document", model.embed_documents)):
        stream = io.BytesIO()
        write_vectors(model, kind, lines, stream)
        np.testing.assert_array_equal(np.load(io.BytesIO(stream.getvalue())), embed(lines))


def test_embeds_nothing(model: WordModel) -> None:
    stream = io.BytesIO()
    write_vectors(model, "query", read_lines(io.BytesIO(b"")), stream)
    assert np.load(io.BytesIO(stream.getvalue())).shape == (0, 64)


def test_a_line_that_is_no_text_is_named() -> None:
    with pytest.raises(HintedError, match="Line 2 "):
        read_lines(io.BytesIO(b"one\n\xff\xfe\n"))


def test_does_not_write_vectors_to_a_terminal(monkeypatch, capsys) -> None:
    monkeypatch.setattr("app.cli.embed.sys.stdout.isatty", lambda: True, raising=False)
    code, _, err = run_main(monkeypatch, capsys, "embed", "--as", "query")
    assert code == 1
    assert "> vectors.npy" in err


def test_a_reader_that_goes_away_causes_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m app.cli --help | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def test_warnings_are_one_line_without_code() -> None:
    script = (
        "import sys, warnings; sys.argv = ['lusifer', '--version']\n"
        "from app.cli import main\n"
        "try: main.main()\n"
        "except SystemExit: warnings.warn('1 text was cut')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "warning: 1 text was cut\n"
