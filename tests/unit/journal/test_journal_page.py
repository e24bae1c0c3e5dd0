"""deploy/journal.md: the check that it gives for any program is run as it stands, and what it says of settings is true."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from journal_windows import filled
from reviewed_runs import said

from edgecell.journal import disk, store
from edgecell.journal.chain import SIGNED
from edgecell.journal.erase import erase
from edgecell.journal.events import Action, Reviewed, SignedOff
from edgecell.journal.journal import Journal
from edgecell.journal.reviews import FILE, ReviewReader
from edgecell.settings import load

PAGE = (Path(__file__).parents[3] / "deploy" / "journal.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert match
    return match[1]


def checked(folder: Path, name: str = store.FILE) -> "subprocess.CompletedProcess[str]":
    """The page's own check, in a Python that knows nothing of this package."""
    line = [sys.executable, "-I", "-S", "-c", block("python"), str(folder / name)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_check_of_the_page_agrees(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
        filled(journal, run_id="run-b", sample_id="other")
    erase(tmp_path, "other")
    with Journal.open(tmp_path) as journal:
        _, head = journal.reader.last()
        assert checked(tmp_path).stdout.split() == [head.hex(), "5"]
        journal._connection.execute("UPDATE contents SET body = zeroblob(9) WHERE position = 3")
    assert "AssertionError" in checked(tmp_path).stderr


def test_the_check_of_the_page_is_one_for_reviews_too(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
    said(tmp_path, "confirm", (0, 0), (1, 0))
    with ReviewReader.open(tmp_path) as reader:
        _, head = reader.last()
    assert checked(tmp_path, FILE).stdout.split() == [head.hex(), "0"]
    erase(tmp_path, "slide-17")
    assert checked(tmp_path, FILE).stdout.split()[1] == "2"


@pytest.mark.parametrize("event", [Reviewed, SignedOff])
def test_the_page_names_what_a_review_holds(event: type[Reviewed | SignedOff]) -> None:
    said_there = PAGE.partition("## Reviews")[2].partition("\n## ")[0]
    assert f"`{event.__struct_config__.tag}`" in said_there
    if event is Reviewed:
        assert all(f"`{name}`" in said_there for name in event.__struct_fields__ if name != "salt")
        assert ", ".join(get_args(Action)) in said_there


def test_the_settings_of_the_page_are_settings(tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text(block("toml"))
    journal = load(tmp_path / "box.toml").journal
    assert journal
    assert (journal.folder, journal.key) == (tmp_path / "journal", str(tmp_path / "device.signing.key"))


@pytest.mark.parametrize("limit", [f"{disk.WARN_MIB // 1024} GiB", f"{disk.CROPS_MIB // 1024} GiB", f"{disk.RUN_MIB} MiB"])
def test_the_limits_of_the_page_are_those_of_the_code(limit: str) -> None:
    assert limit in PAGE.partition("## Room")[2]


def test_what_is_signed_is_what_the_page_says() -> None:
    assert f"{len(SIGNED)} bytes `{SIGNED.decode()}`".replace("\n", "\\n") in PAGE
