"""Opening a bundle: what is checked, and what the user is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_bundle import CLASSES, make_tiny_bundle, tiny_manifest

from edgecell import bundle as module
from edgecell.bundle import MANIFEST, Bundle, open_bundle, parse_manifest, sha256_of, shipped, write_manifest
from edgecell.certificate import CERTIFICATE
from edgecell.errors import BundleCorrupt, BundleError


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def edit(tiny: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((tiny.path / MANIFEST).read_bytes())
    change(manifest)
    (tiny.path / MANIFEST).write_text(json.dumps(manifest))


def test_opens_what_was_written(tiny: Bundle) -> None:
    assert tiny.class_names == CLASSES
    assert set(tiny.manifest.files) == {"float.onnx", "s8s8.onnx", "u8s8.onnx", "golden.npz", "CARD.md", CERTIFICATE}
    assert tiny.sha256 == sha256_of(tiny.path / MANIFEST)
    assert tiny.file("u8s8.onnx").is_file()
    assert open_bundle(tiny.path) == tiny


def test_manifest_survives_the_file(tiny: Bundle) -> None:
    assert msgspec.structs.replace(tiny.manifest, files={}) == tiny_manifest()


def test_a_flipped_bit_in_any_file_is_found(tiny: Bundle) -> None:
    for name in tiny.manifest.files:
        path = tiny.path / name
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(BundleCorrupt, match=rf"{name}.*sha256.*Fix: copy the bundle again"):
            open_bundle(tiny.path)
        path.write_bytes(good)
    open_bundle(tiny.path)


def test_a_missing_file_is_named(tiny: Bundle) -> None:
    (tiny.path / "u8s8.onnx").unlink()
    with pytest.raises(BundleCorrupt, match=r"lacks u8s8\.onnx.*copy the bundle again"):
        open_bundle(tiny.path)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match=f"has no {MANIFEST}"):
        open_bundle(tmp_path)


def test_a_truncated_manifest_is_corrupt(tiny: Bundle) -> None:
    path = tiny.path / MANIFEST
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BundleCorrupt, match=MANIFEST):
        open_bundle(tiny.path)


def two_of_a_name(manifest: dict[str, Any]) -> None:
    manifest["classes"][1]["name"] = manifest["classes"][0]["name"]


def no_classes(manifest: dict[str, Any]) -> None:
    manifest["classes"] = []


def unknown_key(manifest: dict[str, Any]) -> None:
    manifest["colour_scheme"] = "dark"


def unknown_group(manifest: dict[str, Any]) -> None:
    manifest["classes"][0]["group"] = "fish"


def unknown_specimen(manifest: dict[str, Any]) -> None:
    manifest["specimen"] = "urine"


def wrong_size(manifest: dict[str, Any]) -> None:
    manifest["preprocess"]["size_px"] += 1


def wrong_batch(manifest: dict[str, Any]) -> None:
    manifest["input"]["batch"]["opt"] = manifest["input"]["batch"]["max"] + 1


def no_logits(manifest: dict[str, Any]) -> None:
    manifest["outputs"][0]["name"] = "scores"


def cold(manifest: dict[str, Any]) -> None:
    manifest["confidence"]["temperature"] = 0


def bad_sum(manifest: dict[str, Any]) -> None:
    manifest["files"]["u8s8.onnx"] = "abc"


def stranger_tolerated(manifest: dict[str, Any]) -> None:
    manifest["tolerant"] = [["neutrophil", "blast"]]


DAMAGE = [
    (two_of_a_name, "unique"),
    (no_classes, "class names must be present"),
    (unknown_key, "colour_scheme"),
    (unknown_group, "fish"),
    (unknown_specimen, "urine"),
    (wrong_size, "input shape"),
    (wrong_batch, "min <= opt <= max"),
    (no_logits, "logits"),
    (cold, "temperature"),
    (bad_sum, "files"),
    (stranger_tolerated, "tolerant names what is no class: blast"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_a_manifest_that_makes_no_sense_is_refused(tiny: Bundle, damage: Callable[[dict[str, Any]], None], says: str) -> None:
    edit(tiny, damage)
    with pytest.raises(BundleCorrupt, match=says):
        open_bundle(tiny.path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "C:x", "", "."])
def test_no_file_may_lie_outside_the_bundle(name: str) -> None:
    manifest = msgspec.structs.replace(tiny_manifest(), files={name: "0" * 64})
    with pytest.raises(BundleCorrupt, match="unsafe path"):
        parse_manifest(msgspec.json.encode(manifest), where=Path(MANIFEST))


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny_bundle(tmp_path / "shipped" / "tiny")
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    assert shipped() == ("tiny",)
    assert open_bundle("tiny").manifest.name == "tiny"
    with pytest.raises(BundleError, match=r"no bundle 'tinny'.*shipped one: tiny") as caught:
        open_bundle("tinny")
    assert caught.value.exit_code == 4


def test_a_name_is_never_a_way_out_of_the_shipped_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(BundleError, match="no bundle"):
        open_bundle("../tiny")


def test_a_file_that_is_not_listed_is_not_given(tiny: Bundle) -> None:
    (tiny.path / "fp16.onnx").write_bytes(b"stray")
    with pytest.raises(BundleError, match=r"no fp16\.onnx.*it has: CARD\.md"):
        tiny.file("fp16.onnx")


def test_writing_lists_files_in_folders_too(tiny: Bundle) -> None:
    (tiny.path / "extra").mkdir()
    (tiny.path / "extra" / "note.txt").write_text("x")
    again = write_manifest(tiny.path, tiny.manifest)
    assert again.manifest.files["extra/note.txt"] == sha256_of(tiny.path / "extra" / "note.txt")
    assert MANIFEST not in again.manifest.files
