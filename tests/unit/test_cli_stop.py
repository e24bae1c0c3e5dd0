"""The stop rule on the command line: of whole fields, and of a run with its journal."""

from pathlib import Path

import pytest
from command_line import called
from pictures import PIXEL_UM, write_fields

from edgecell import settings
from edgecell.errors import SettingsError


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stop")
    for half in ("a", "b"):
        write_fields(folder / half, 3)
    return folder


def test_fields_are_counted_until_it_is_enough(slide: Path) -> None:
    everything = called("count", slide / "a", slide / "b", "--json", "--pixel-um", PIXEL_UM)
    assert everything.documents[-1]["stop"] is None
    inside = [row["label"] for row in everything.documents[-1]["differential"]["rows"]]
    seen, needed = 0, 0
    while seen < 3:
        counts = everything.documents[needed]["counts"]
        seen, needed = seen + sum(counts[label] for label in inside), needed + 1
    assert 0 < needed < 6
    ended = called("count", slide / "a", slide / "b", "--json", "--pixel-um", PIXEL_UM, "--until-cells", 3)
    total = ended.documents[-1]
    assert (ended.code, len(ended.documents), total["images"]) == (0, needed + 1, needed)
    assert ended.documents[:-1] == everything.documents[:needed]
    assert total["stop"] == {"cells": 3, "width": None, "classes": [], "now": seen, "progress": 1.0, "reached": True}


def test_who_reads_is_told_when_the_fields_were_not_enough(slide: Path) -> None:
    ended = called(
        "count", slide / "a", slide / "b", "--pixel-um", PIXEL_UM, "--until-width", 5, "--of", "basophil", "--of", "neutrophil"
    )
    assert ended.code == 0
    assert "NOT ENOUGH was counted: 95 % interval of basophil, neutrophil" in ended.out
    assert "points wide, 5 wanted" in ended.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--until-width", "5"], "classes go with width"),
        (["--of", "basophil"], "either cells = N or width"),
        (["--until-cells", "9", "--until-width", "5", "--of", "basophil"], "either cells = N or width"),
        (["--until-width", "nan", "--of", "basophil"], "is not a number"),
        (["--until-width", "5", "--of", "blast"], "'blast' is no class of the differential"),
    ],
)
def test_half_a_rule_is_refused_before_anything_is_opened(slide: Path, options: list[str], said: str) -> None:
    for command in (["count", str(slide / "a")], ["run", "--no-journal"]):
        ended = called(*command, *options)
        assert ended.code == 2
        assert said in ended.err
        assert ended.out == ""


def test_settings_name_the_rule_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    file.write_text('[run.stop]\nwidth = 5.0\nclasses = ["monocyte"]\n')
    rule = settings.load(file).run.stop
    assert rule is not None
    assert (rule.cells, rule.width, rule.classes) == (None, 5.0, ("monocyte",))
    for text, said in {
        "[run.stop]\n": "run.stop: stop is either cells = N or width = POINTS",
        "[run.stop]\ncells = 200\nwidth = 5.0\n": "run.stop: stop is either",
        "[run.stop]\ncells = 0\n": "run.stop.cells",
        "[run.stop]\ncels = 200\n": "did you mean cells",
    }.items():
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"bench\.toml") as refused:
            settings.load(file)
        assert said in str(refused.value)


def test_a_run_of_the_phantom_ends_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    ended = called("run", "--source", "phantom:seed=5,width=640,height=480", "--until-cells", 6, "--journal", folder, "--json")
    assert ended.code == 0
    messages = [each for each in ended.documents if each.get("schema") == "counts/1"]
    last = messages[-1]
    assert last["stop"]["reached"] is True
    assert last["stop"]["now"] == last["differential"]["n"] >= 6
    assert all(not message["stop"]["reached"] for message in messages[:-1])
    frames = last["frames"]
    assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["gated"]
    assert set(last["dropped_reasons"]) <= {"stop: enough is counted"}
    [shown] = called("journal", "show", folder, "--json").documents
    assert (shown["complete"], shown["state"]) == (True, "stopped")
    assert shown["reason"] == f"enough is counted: {last['stop']['now']:.0f} of 6 cells of the differential"
    assert shown["settings"]["run"]["stop"] == {"cells": 6, "width": None, "classes": []}
    assert called("journal", "replay", folder).code == 0
