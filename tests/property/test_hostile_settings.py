"""Whatever stands in a settings file or on the command line: it is used, or one error says what to change."""

import json
from pathlib import Path
from typing import Any

import pytest
from hostile import TEXTS, changed, damaged, fuzz, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from pictures import write_fields
from tiny_bundle import make_tiny_bundle

from edgecell import app, settings
from edgecell.errors import EdgecellError, SettingsError
from edgecell.settings import Settings

TOKENS = [
    b"=",
    b"[",
    b"[[",
    b"]",
    b'"',
    b"'''",
    b'"""',
    b"{",
    b"\n",
    b"\r",
    b"#",
    b".",
    b"1" * 5000,
    b"[" * 3000,
    b"1979-13-01",
]
TOKENS += [b"\xff", b"\xef\xbb\xbf", b"\0", b"0x", b"1e99999", b"nan", b"24:61:61", b"\\ud800", b"\\UFFFFFFFF", b"a.b.c=1\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile-settings")
    make_tiny_bundle(folder / "tiny")
    write_fields(folder, 1)
    return folder


def whole() -> dict[str, Any]:
    """Every table and most keys that there are."""
    return {
        "device_id": "bench",
        "sample_id": "phantom",
        "source": {"part": "phantom", "seed": 3, "width": 640, "pixel_um": 0.1, "frames": 3, "fps": 15.0, "stage": "hand"},
        "segmenter": {"part": "stain", "options": {}},
        "engine": {"part": "onnxrt", "threads": 1},
        "publisher": {"part": "zmq", "endpoint": "tcp://127.0.0.1:5556", "high_water": 10, "options": {"linger_ms": 1}},
        "models": {"nucleated": "./tiny"},
        "trust": {"require": "certificate", "keys": ["lab.signing.pub"]},
        "run": {"max_frames": 5, "window_s": 1.0, "heartbeat_s": 1.0, "read_timeout_s": 5.0, "counting": "every_frame"},
    }


def toml(value: Any) -> str:
    """As inline TOML. None has no TOML and becomes a bare word, which is an error of its own."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {toml(each)}' for key, each in value.items())}}}"
    return "1" + "0" * 4400 if value == 10**4400 else repr(value)


def document(tree: Any) -> str:
    return (
        "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in tree.items()) if isinstance(tree, dict) else toml(tree)
    )


def planned(file: Path) -> None:
    """All that is done with settings before a camera or a socket is touched."""
    plan = app.plan(settings.load(file))
    for part in (plan.source, plan.publisher):
        part.make()


def test_the_whole_file_is_used(folder: Path) -> None:
    """So that the others begin with something that is right."""
    tree = whole()
    tree["trust"]["keys"] = []
    (folder / "whole.toml").write_text(document(tree))
    assert read_or_refused(lambda: planned(folder / "whole.toml")) is None


@given(changed(whole()))
@fuzz
def test_settings_with_odd_values(folder: Path, tree: Any) -> None:
    file = folder / "odd.toml"
    file.write_bytes(document(tree).encode("utf-8", "surrogatepass"))
    read_or_refused(lambda: planned(file))


@given(damaged(document(whole()).encode(), TOKENS))
@fuzz
def test_settings_with_damaged_bytes(folder: Path, raw: bytes) -> None:
    file = folder / "damaged.toml"
    file.write_bytes(raw)
    read_or_refused(lambda: settings.load(file))


@given(st.binary(max_size=200))
@fuzz
def test_any_bytes(folder: Path, raw: bytes) -> None:
    file = folder / "any.toml"
    file.write_bytes(raw)
    read_or_refused(lambda: settings.load(file))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000 + "]" * 100_000,
        "a = " + "{a=" * 5_000 + "1" + "}" * 5_000,
        "a" + ".a" * 50_000 + " = 1",
        "[" + "a." * 50_000 + "a]",
        "seed = " + "9" * 100_000,
        'a = "' + "\\u0041" * 100_000 + '"',
        "".join(f"[source.options.t{number}]\n" for number in range(20_000)) + "[source.options.t0]",
    ],
    ids=lambda text: text[:12],
)
def test_large_and_deep_ones(folder: Path, text: str) -> None:
    file = folder / "deep.toml"
    file.write_text(text)
    assert isinstance(read_or_refused(lambda: settings.load(file)), SettingsError)


@given(
    st.sampled_from(["phantom:", "images:", "v4l2:", "zmq:", ""]),
    st.lists(
        st.one_of(TEXTS, st.builds("{}={}".format, st.sampled_from(["seed", "width", "path", "device", "fps"]), TEXTS)),
        max_size=3,
    ),
)
@fuzz
def test_a_source_on_the_command_line(part: str, pieces: list[str]) -> None:
    def made() -> None:
        chosen = settings.checked(Settings(source=settings.source_from_spec(part + ",".join(pieces))))
        app.choose("source", chosen.source).make()

    read_or_refused(made)


PATHS = ["x" * 300, "x/" * 3000, "x" * 300 + ".mp4", "a\0b", "~nobody-of-this-name/x", "nowhere", "/dev/null", "/dev/null/x"]


@pytest.mark.parametrize("name", PATHS, ids=lambda name: name[:12])
@pytest.mark.parametrize(
    "text",
    [
        "source = {{part = 'images', path = {}}}",
        "models.nucleated = {}",
        "trust = {{require = 'signature', keys = [{}]}}",
        "publisher.endpoint = {}\nsource = {{part = 'images', path = '.'}}",
    ],
    ids=["images", "bundle", "key", "socket"],
)
def test_paths(folder: Path, text: str, name: str) -> None:
    def opened() -> None:
        plan = app.plan(settings.load(folder / "paths.toml"))
        for part in (plan.source, plan.publisher):
            with part.make():
                pass

    (folder / "paths.toml").write_text(text.format(json.dumps(f"ipc://{folder}/{name}" if "endpoint" in text else name)))
    refused = read_or_refused(opened)
    assert isinstance(refused, EdgecellError) or ("endpoint" in text and name == "nowhere")


@pytest.mark.parametrize("name", [name for name in PATHS if name not in ("a\0b", "/dev/null")], ids=lambda name: name[:12])
def test_the_path_of_the_settings(name: str) -> None:
    assert isinstance(read_or_refused(lambda: settings.load(Path(name))), SettingsError)


@given(TEXTS)
@fuzz
def test_a_bundle_on_the_command_line(folder: Path, name: str) -> None:
    made = read_or_refused(lambda: app.plan(Settings(models={"nucleated": name})))
    assert isinstance(made, EdgecellError) or made.bundles
