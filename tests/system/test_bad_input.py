"""Bad input: one clear line with its fix on stderr, the exit code of its class, no traceback; good images are still counted.

Most calls are made in this process; each class of errors is seen once in a process of its own, as a user meets it.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Ended, called, finished
from pictures import bad_images, write_fields
from tiny_bundle import certified, make_tiny_bundle

from edgecell.bundle import Bundle

BAD = bad_images()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bad-input") / "tiny")


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def refused(ended: Ended, code: int, *words: str) -> None:
    """One line on stderr, with a fix; the exit code; nothing on stdout that could be taken for a result."""
    assert ended.code == code, ended
    (line,) = ended.err.splitlines()
    assert line.startswith("edgecell: error: ")
    _, _, fix = line.partition("Fix: ")
    assert fix.strip()
    for word in words:
        assert word in line
    assert "Traceback" not in line
    assert ended.out == ""


# Images


@pytest.mark.parametrize("case", sorted(BAD))
@pytest.mark.parametrize("command", ["count", "classify"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_bad_image_alone(tmp_path: Path, tiny: Bundle, case: str, command: str, options: list[str]) -> None:
    name, data, words = BAD[case]
    (tmp_path / name).write_bytes(data)
    refused(called(command, tmp_path / name, "--bundle", tiny.path, *options), 5, name, words)


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_bad_image_alone_as_source(tmp_path: Path, tiny: Bundle, case: str) -> None:
    """The log names the frame; the run then fails, for it counted nothing."""
    name, data, words = BAD[case]
    (tmp_path / name).write_bytes(data)
    ended = called("run", bench(tmp_path, tiny), "--source", f"images:{tmp_path / name}", "--json")
    assert ended.code == 5
    (line,) = (line for line in ended.err.splitlines() if "Fix: " in line)
    assert f"frame 0 failed: {tmp_path / name}" in line
    assert words in line
    assert "none of the 1 frames of images could be used" in ended.err.splitlines()[-1]
    assert not any(document["valid"] for document in ended.documents)


def test_a_bad_image_as_a_user_meets_it(tmp_path: Path, tiny: Bundle) -> None:
    name, data, words = BAD["CMYK"]
    (tmp_path / name).write_bytes(data)
    refused(finished("count", name, "--bundle", tiny.path, folder=tmp_path), 5, name, words)


def test_bad_images_among_many_are_reported_and_the_others_counted(tmp_path: Path, tiny: Bundle) -> None:
    write_fields(tmp_path, 2)
    for name, data, _ in BAD.values():
        (tmp_path / name).write_bytes(data)
    ended = called("count", tmp_path, "--bundle", tiny.path, "--json")
    assert ended.code == 0
    *lines, total = ended.documents
    assert {Path(line["image"]).name for line in lines if "error" in line} == {name for name, _, _ in BAD.values()}
    assert sorted(Path(line["image"]).name for line in lines if "counts" in line) == ["field0.png", "field1.png"]
    assert (total["images"], total["processed"], total["failed"]) == (2 + len(BAD), 2, len(BAD))
    assert total["counts"]["red_blood_cell"] > 20
    assert len(ended.err.splitlines()) == len(BAD)
    for name, _, words in BAD.values():
        (line,) = (line for line in ended.err.splitlines() if name in line)
        assert words in line
        assert "Fix: " in line


def test_bad_images_among_many_cells_are_reported_and_the_others_classified(tmp_path: Path, tiny: Bundle) -> None:
    write_fields(tmp_path, 1)
    for name, data, _ in BAD.values():
        (tmp_path / name).write_bytes(data)
    ended = called("classify", tmp_path, "--bundle", tiny.path, "--json", "--pixel-um", 0.1)
    assert ended.code == 0
    assert [Path(line["image"]).name for line in ended.documents if "label" in line] == ["field0.png"]
    assert {Path(line["image"]).name for line in ended.documents if "error" in line} == {name for name, _, _ in BAD.values()}


@pytest.mark.parametrize("command", ["count", "classify"])
def test_only_bad_images_is_an_error(tmp_path: Path, tiny: Bundle, command: str) -> None:
    for name, data, _ in BAD.values():
        (tmp_path / name).write_bytes(data)
    ended = called(command, tmp_path, "--bundle", tiny.path)
    assert (ended.code, ended.out) == (5, "")
    assert len(ended.err.splitlines()) == len(BAD) + 1
    assert ended.err.splitlines()[-1].startswith("edgecell: error: no image could be read. Fix: ")


@pytest.mark.parametrize("command", ["count", "classify"])
def test_a_missing_path_and_a_folder_without_images(tmp_path: Path, tiny: Bundle, command: str) -> None:
    refused(called(command, tmp_path / "nowhere", "--bundle", tiny.path), 5, "nowhere", "no such file")
    (tmp_path / "notes.txt").write_text("no image")
    refused(called(command, tmp_path, "--bundle", tiny.path), 5, "holds no images")


def test_a_missing_path_as_a_user_meets_it(tmp_path: Path) -> None:
    refused(finished("count", "nowhere.jpg", folder=tmp_path), 5, "nowhere.jpg", "no such file")


def test_a_file_name_cannot_break_the_line_or_steer_the_table(
    tmp_path: Path, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path would be folded
    refused(called("count", tmp_path / "no\nwhere.jpg"), 5, "no where.jpg")
    write_fields(tmp_path, 1)[0].rename(tmp_path / "a[bold]b[slash].png")
    ended = called("count", ".", "--bundle", tiny.path)
    assert ended.code == 0
    assert "a[bold]b[slash].png" in ended.out


# Settings and the command line


def bench(folder: Path, tiny: Bundle, more: str = "") -> Path:
    """A settings file that would run for three small frames, with `more` after it."""
    file = folder / "bench.toml"
    file.write_text(
        f'models = {{nucleated = "{tiny.path}"}}\npublisher = {{endpoint = "tcp://127.0.0.1:*"}}\n'
        f"source = {{width = 320, height = 240, frames = 3}}\n{more}\n"
    )
    return file


SETTINGS: dict[str, tuple[str, int, str]] = {
    "unknown key": ("[run]\nwindow_z = 1", 2, "did you mean window_s?"),
    "wrong type": ('[run]\nwindow_s = "soon"', 2, "window_s: expected `float`, got `str`"),
    "out of range": ("[run]\nmax_frames = 0", 2, "max_frames"),
    "broken TOML": ("[run\nwindow_s = 1", 2, "not valid TOML"),
    "unknown segmenter": ('[segmenter]\npart = "magic"', 2, "use one of: network, stain"),
    "unknown option": ("[engine]\npart = 'onnxrt'\ncores = 4", 2, "unknown key cores"),
}


@pytest.mark.parametrize("case", sorted(SETTINGS))
@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_settings(tmp_path: Path, tiny: Bundle, case: str, command: str) -> None:
    more, code, words = SETTINGS[case]
    ended = called(command, bench(tmp_path, tiny, more))
    refused(ended._replace(out=""), code, words)
    assert command == "check" or not ended.out


def test_broken_settings_as_a_user_meets_them(tmp_path: Path, tiny: Bundle) -> None:
    bench(tmp_path, tiny, "[run")
    refused(finished("run", "bench.toml", folder=tmp_path), 2, "bench.toml: not valid TOML", "line 4")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--source", "camera"], 2, "unknown source 'camera'"),
        (["--source", "images:"], 2, "is not a source specification"),
        (["--source", "phantom:sede=3"], 2, "did you mean seed?"),
        (["--source", "phantom:width=wide"], 2, "width"),
        (["--source", "images:nowhere"], 5, "nowhere"),
        (["--publish", "127.0.0.1:5556"], 2, "is not tcp://HOST:PORT"),
        (["--publish", "tcp://127.0.0.1:99999"], 2, "is not tcp://HOST:PORT"),
        (["--publish", "tcp://0.0.0.0:5556"], 2, "needs keys"),
        (["--publish", "ipc:///no-such-folder/bus"], 7, "mkdir -p"),
        (["--sample-id", ""], 2, "sample_id"),
        (["--max-frames", "many"], 2, "--max-frames"),
        (["--frames", "3"], 2, "edgecell run --help"),
    ],
)
def test_a_bad_command_line(tmp_path: Path, tiny: Bundle, options: list[str], code: int, words: str) -> None:
    refused(called("run", bench(tmp_path, tiny), *options), code, words)


def test_missing_settings_and_missing_arguments(tmp_path: Path) -> None:
    refused(called("run", tmp_path / "none.toml"), 2, "none.toml cannot be read")
    refused(called("count"), 2, "Missing argument 'PATH...'", "edgecell count --help")
    refused(called("cuont"), 2, "No such command 'cuont'", "edgecell --help")


@pytest.mark.parametrize("command", ["count", "classify"])
@pytest.mark.parametrize("scale", ["0", "-0.1", "1e-9", "nan", "50", "small"])
def test_a_scale_that_no_microscope_has(tmp_path: Path, command: str, scale: str) -> None:
    (file,) = write_fields(tmp_path, 1)
    refused(called(command, file, "--pixel-um", scale), 2, "--pixel-um")


def test_an_overlay_folder_that_cannot_be_made(tmp_path: Path, tiny: Bundle) -> None:
    (file,) = write_fields(tmp_path, 1)
    refused(called("count", file, "--bundle", tiny.path, "--overlay", file), 2, "--overlay")


def test_an_overlay_that_cannot_be_written(tmp_path: Path, tiny: Bundle) -> None:
    (file,) = write_fields(tmp_path, 1)
    (tmp_path / "field0.overlay.png").mkdir()
    refused(called("count", file, "--bundle", tiny.path, "--overlay", tmp_path), 2, "cannot write")


# Bundles, engine, bus


def flipped(folder: Path) -> Path:
    """A tiny bundle of which one bit of the model has changed on the way."""
    bundle = make_tiny_bundle(folder)
    model = bundle.file("u8s8.onnx")
    raw = bytearray(model.read_bytes())
    raw[len(raw) // 2] ^= 1
    model.write_bytes(bytes(raw))
    return folder


@pytest.mark.parametrize("command", ["count", "classify"])
def test_an_unknown_and_a_corrupt_bundle(tmp_path: Path, command: str) -> None:
    (file,) = write_fields(tmp_path, 1)
    refused(called(command, file, "--bundle", "no-such"), 4, "no bundle 'no-such'")
    refused(called(command, file, "--bundle", flipped(tmp_path / "bundle")), 4, "u8s8.onnx is not the file", "copy the bundle")


def test_a_corrupt_bundle_as_a_user_meets_it(tmp_path: Path, tiny: Bundle) -> None:
    settings = bench(tmp_path, tiny, f'[models]\nnucleated = "{flipped(tmp_path / "bundle")}"')
    settings.write_text(settings.read_text().partition("\n")[2])
    refused(finished("run", settings, folder=tmp_path), 4, "u8s8.onnx is not the file", "copy the bundle")


def test_a_model_that_no_engine_can_load(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    bundle.file("u8s8.onnx").write_bytes(b"no model\n")
    certified(bundle.path, bundle.manifest)
    (file,) = write_fields(tmp_path, 1)
    refused(finished("count", file, "--bundle", bundle.path, folder=tmp_path), 6, "onnxruntime cannot load", "u8s8.onnx")


def test_an_engine_that_is_not_installed(tmp_path: Path, tiny: Bundle) -> None:
    (file,) = write_fields(tmp_path, 1)
    prelude = "import sys; sys.modules['onnxruntime'] = None"
    ended = finished("count", file, "--bundle", tiny.path, folder=tmp_path, prelude=prelude)
    refused(ended, 3, "onnxruntime does not load", "pip install onnxruntime")


def test_a_port_in_use(tmp_path: Path, tiny: Bundle, busy_port: int) -> None:
    ended = finished("run", bench(tmp_path, tiny), "--publish", f"tcp://127.0.0.1:{busy_port}", folder=tmp_path)
    refused(ended, 7, f"127.0.0.1:{busy_port}", "it is in use", "ss -ltnp")
