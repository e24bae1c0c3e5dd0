"""deploy/jetson.md and deploy/Dockerfile.jetson: edgecell has their commands and takes their settings."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from edgecell import plugins, settings
from edgecell.cli import cli
from edgecell.engines import TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy/jetson.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy/Dockerfile.jetson").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(edgecell [^`]+)`")
OPERATORS = {"|", "||", "&&", ";", ">", ">>", "<", "2>"}


def blocks(tag: str) -> list[str]:
    return [text for fence, text in BLOCK.findall(PAGE) if fence == tag]


def commands() -> list[str]:
    """Every edgecell command of the page, in blocks, in sentences, and behind the name of the container's image."""
    lines = [line for block in blocks("sh") for line in block.splitlines()] + INLINE.findall(BLOCK.sub("", PAGE))
    found = []
    for line in lines:
        words = list(takewhile(lambda word: word not in OPERATORS, shlex.split(line.replace("2>", " 2> "), comments=True)))
        if words[:2] == ["docker", "run"]:
            words = words[words.index("edgecell") :]
        if words[:1] == ["edgecell"]:
            found.append(shlex.join(words))
    return sorted(set(found))


def test_the_page_has_the_commands_that_it_is_about() -> None:
    assert {line.split()[1] for line in commands()} >= {"doctor", "prepare", "verify", "run", "bench", "check"}
    assert "TensorRT path not yet verified on a GPU" in PAGE


@pytest.mark.parametrize("line", commands())
def test_command_exists(line: str) -> None:
    words = shlex.split(line)[1:]
    if words == ["--version"]:
        return
    words = [word for word in words if word != "-v"]
    name, command, arguments = cli.resolve_command(cli.make_context("edgecell", words), words)
    assert name is not None
    assert command is not None
    command.make_context(name, arguments)  # raises UsageError for what it does not take


@pytest.mark.parametrize("text", blocks("toml"))
def test_settings_are_taken_by_their_engine(text: str, tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(text)
    chosen = settings.load(tmp_path / "bench.toml").engine
    options = settings.decode_options(plugins.load("engine", TABLE, chosen.part), chosen)
    assert {key: getattr(options, key) for key in ("workspace_mib",)} == {"workspace_mib": 512}


def test_both_ways_to_tensorrt_have_settings() -> None:
    assert len(blocks("toml")) == 2


def test_what_the_image_copies_is_in_the_checkout_or_made_by_make_wheel() -> None:
    copied = [word for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert copied == ["requirements/base.txt", "dist/edgecell-*.whl"]
    assert (ROOT / copied[0]).is_file()
    assert re.search(r"^wheel:.*dist/edgecell-\*\.whl", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_image_takes_base_and_binding_as_arguments() -> None:
    arguments = dict(re.findall(r'^ARG (\w+)="?([^"\n]+)"?$', DOCKERFILE, re.MULTILINE))
    assert arguments["BASE"] == "nvcr.io/nvidia/l4t-tensorrt:r10.3.0-runtime"
    assert arguments["CUDA_BINDING"] == "cuda-python==12.6.2.post1"
    assert "FROM ${BASE}" in DOCKERFILE
