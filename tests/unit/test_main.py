"""The roof: exit codes, one line an error, help that teaches, and a command line that loads only what it needs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import ENVIRONMENT, called, finished

import edgecell
from edgecell import errors
from edgecell.cli import COMMANDS, cli
from edgecell.errors import EdgecellError, FrameCorrupt
from edgecell.messages import NOTICE


def all_errors(base: type[EdgecellError] = EdgecellError) -> Iterator[type[EdgecellError]]:
    yield base
    for each in base.__subclasses__():
        yield from all_errors(each)


CODES = {
    "EdgecellError": 1,
    "SettingsError": 2,
    "MissingDependency": 3,
    "BundleError": 4,
    "BundleCorrupt": 4,
    "BundleMismatch": 4,
    "SourceError": 5,
    "SourceUnavailable": 5,
    "NotMeasurable": 5,
    "FrameTimeout": 5,
    "FrameCorrupt": 5,
    "EngineError": 6,
    "EngineBuildError": 6,
    "InferenceError": 6,
    "PublishError": 7,
    "JournalError": 8,
    "JournalBlocked": 8,
}


def test_every_error_has_the_exit_code_of_the_tree() -> None:
    assert {each.__name__: each.exit_code for each in all_errors() if each.__module__ == errors.__name__} == CODES


@pytest.mark.parametrize("kind", sorted(CODES))
def test_an_error_is_one_line_with_its_fix_and_its_exit_code(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def fail() -> None:
        error: type[EdgecellError] = getattr(errors, kind)
        raise FrameCorrupt("a\nb", fix="c", index=0) if error is FrameCorrupt else error("a\nb", fix="c")

    monkeypatch.setattr(cli, "get_command", lambda _context, _name: click.Command("fail", callback=fail))
    ended = called("fail")
    assert (ended.code, ended.out, ended.err) == (CODES[kind], "", "edgecell: error: a b. Fix: c\n")


def test_an_interrupt_is_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "get_command", lambda _context, _name: click.Command("wait", callback=interrupted))
    ended = called("wait")
    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "edgecell", "schemas"]
    with os.fdopen(write, "wb") as pipe:
        ended = subprocess.run(
            line, cwd=tmp_path, env=ENVIRONMENT, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_teaches(name: str) -> None:
    ended = called(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Usage: edgecell {name}" in ended.out
    _, _, examples = ended.out.partition("Examples:")
    assert f"edgecell {name}" in examples
    assert "--json" in ended.out or name == "schemas"


def test_the_help_of_edgecell_names_every_command_and_the_exit_codes() -> None:
    ended = called("--help")
    assert ended.code == 0
    for words in (*COMMANDS, "Exit codes", "2 settings or command line", "5 source or image", "8 journal", NOTICE):
        assert words in " ".join(ended.out.split())
    assert called("-h").out == ended.out


def test_every_option_of_every_command_is_explained() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_help_are_understood(name: str) -> None:
    """What help shows must not be refused. Comments, pipes and redirections are not edgecell's."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    section = called(name, "--help").out.partition("Examples:")[2].partition("Options:")[0]
    examples = [line.strip() for line in section.splitlines() if line.strip().startswith("edgecell ")]
    assert len(examples) >= 2
    for example in examples:
        words = re.split(r"   |\||>", example)[0].split()
        shown = cli.get_command(click.Context(cli), words[1])
        assert shown is not None, example
        shown.make_context(words[1], words[2:])
    assert any(example.split()[1] == name for example in examples)


def test_nothing_asked_for_shows_the_help() -> None:
    ended = called()
    assert ended.code == 2
    assert "Usage: edgecell" in ended.err + ended.out


def test_the_version_comes_with_the_notice() -> None:
    ended = called("--version")
    assert (ended.code, ended.out) == (0, f"edgecell {edgecell.__version__}. {NOTICE}\n")


def test_verbose_adds_lines_to_stderr_only() -> None:
    assert called("-v", "schemas").out == called("schemas").out


def test_watching_loads_no_engine_and_no_image_library(tmp_path: Path) -> None:
    """A terminal that only listens stays small."""
    check = "import atexit, sys; atexit.register(lambda: print(sorted({'cv2', 'onnxruntime'} & set(sys.modules))))"
    ended = finished("watch", "--once", "--timeout", "0.1", "ipc:///tmp/nobody-there", folder=tmp_path, prelude=check)
    assert (ended.code, ended.out) == (7, "[]\n")
