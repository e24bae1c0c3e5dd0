"""A bundle whose files were changed, by accident or on purpose, is refused in one line. What is opened can be used.

Whoever makes a bundle also makes its check sums, so they are right here: what is left is what a reader itself must stand.
"""

import functools
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import changed, damaged, fuzz, nested, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import make_tiny_bundle

from edgecell import certificate
from edgecell.bundle import MANIFEST, SHIPPED, parse_manifest, shipped
from edgecell.errors import BundleError, EdgecellError
from edgecell.golden import read_golden
from edgecell.signature import ANY, SIGNATURE, Trust, judge

WHERE = Path(MANIFEST)
TOKENS = [b"{", b"}", b"[", b"]", b",", b'"', b"null", b"9" * 5000, b"1e999", b"NaN", b"\\ud800", b"\xff", b"[" * 20_000, b"-0"]
ZIP_TOKENS = [
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"\xff" * 4,
    b"\0" * 4,
    b"\x93NUMPY",
    b"\x08\0",
    b"\x0e\0",
]
HEADERS = [
    "{",
    "'descr': '<f4',",
    "'descr': '|O',",
    "'shape': (9999999999, 99999),",
    "'shape': (-1,),",
    "(" * 3000,
    "1e999",
    "L,",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("hostile-bundles") / "tiny").path


@functools.cache
def manifests() -> tuple[Any, ...]:
    return tuple(json.loads((SHIPPED / name / MANIFEST).read_bytes()) for name in shipped())


def encoded(tree: Any) -> bytes:
    """With numbers and text as Python writes them: also those that JSON does not have."""
    return json.dumps(tree).encode() if not _has_long_number(tree) else b'{"classes": 1' + b"0" * 4400 + b"}"


def _has_long_number(tree: Any) -> bool:
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return tree == 10**4400 or any(map(_has_long_number, values))


@pytest.mark.parametrize("number", range(len(shipped())))
def test_whole_manifests_are_read(number: int) -> None:
    assert parse_manifest(encoded(manifests()[number]), where=WHERE).name == shipped()[number]


@given(st.data())
@fuzz
def test_manifests_with_odd_values(data: st.DataObject) -> None:
    tree = data.draw(changed(data.draw(st.sampled_from(manifests()))))
    read_or_refused(lambda: parse_manifest(encoded(tree), where=WHERE))


@given(st.data())
@fuzz
def test_manifests_with_damaged_bytes(data: st.DataObject) -> None:
    raw = data.draw(damaged((SHIPPED / data.draw(st.sampled_from(shipped())) / MANIFEST).read_bytes(), TOKENS))
    read_or_refused(lambda: parse_manifest(raw, where=WHERE))


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(nested(900)).encode(),
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"metrics": ' * 50_000,
        b"9" * 1_000_000,
        b'"' + b"\\u0041" * 100_000 + b'"',
        b'{"name": "' + b"x" * 3_000_000 + b'"}',
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_large_and_deep_ones(folder: Path, tmp_path: Path, raw: bytes) -> None:
    assert isinstance(read_or_refused(lambda: parse_manifest(raw, where=WHERE)), BundleError)
    (tmp_path / "certificate.json").write_bytes(raw)
    assert isinstance(read_or_refused(lambda: certificate.read(tmp_path / "certificate.json", raw)), BundleError)
    (tmp_path / SIGNATURE).write_bytes(raw)
    assert isinstance(read_or_refused(lambda: judge(tmp_path, ANY, certified=True)), BundleError)


@given(st.data(), st.booleans())
@fuzz
def test_certificates(folder: Path, tmp_path: Path, data: st.DataObject, bytewise: bool) -> None:
    manifest, whole = (folder / MANIFEST).read_bytes(), (folder / "certificate.json").read_bytes()
    raw = data.draw(damaged(whole, TOKENS)) if bytewise else encoded(data.draw(changed(json.loads(whole))))
    (tmp_path / "certificate.json").write_bytes(raw)
    read_or_refused(lambda: certificate.read(tmp_path / "certificate.json", manifest))


@given(st.data(), st.booleans())
@fuzz
def test_signatures(folder: Path, tmp_path: Path, data: st.DataObject, bytewise: bool) -> None:
    tree = {"schema": "signature/1", "algorithm": "ed25519", "key": "0" * 16, "signature": "0" * 128}
    raw = data.draw(damaged(json.dumps(tree).encode(), TOKENS)) if bytewise else encoded(data.draw(changed(tree)))
    (tmp_path / SIGNATURE).write_bytes(raw)
    read_or_refused(lambda: judge(tmp_path, Trust(), certified=True))


@pytest.mark.parametrize("depth", [500, 900, 980, 5_000, 100_000])
def test_a_certificate_of_a_deep_manifest(folder: Path, tmp_path: Path, depth: int) -> None:
    """Whatever stands in it, a certificate repeats."""
    deep = b'{"a":' * depth + b"0" + b"}" * depth
    certified = json.loads((folder / "certificate.json").read_bytes())
    raw = json.dumps({**certified, "manifest": "DEEP"}).encode().replace(b'"DEEP"', deep)
    (tmp_path / "certificate.json").write_bytes(raw)
    manifest = (folder / MANIFEST).read_bytes()
    assert isinstance(read_or_refused(lambda: certificate.read(tmp_path / "certificate.json", manifest)), BundleError)


# Golden cells


@given(st.data())
@fuzz
def test_golden_files_with_damaged_bytes(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    raw = data.draw(damaged((folder / "golden.npz").read_bytes(), ZIP_TOKENS))
    (tmp_path / "golden.npz").write_bytes(raw)
    read_or_refused(lambda: read_golden(tmp_path / "golden.npz", "u8s8"))


@given(st.data(), st.sampled_from(["crops.npy", "u8s8/logits.npy", "u8s8/logits/tolerance.npy"]), st.booleans())
@fuzz
def test_golden_files_with_damaged_arrays(folder: Path, tmp_path: Path, data: st.DataObject, name: str, header: bool) -> None:
    """The zip is whole, and one array in it is not: a fault that no check sum of the zip finds."""
    with zipfile.ZipFile(folder / "golden.npz") as whole:
        arrays = {each: whole.read(each) for each in whole.namelist()}
    if header:
        text = "".join(data.draw(st.lists(st.sampled_from([*HEADERS, "}", "'fortran_order': False,"]), max_size=6)))
        arrays[name] = b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text.encode() + arrays[name][-100:]
    else:
        arrays[name] = data.draw(damaged(arrays[name][:300], [b"\x93NUMPY", b"|O8", b"(", b"9" * 30, b"\xff"]))
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as changed_one:
        for each, content in arrays.items():
            changed_one.writestr(each, content)
    read_or_refused(lambda: read_golden(tmp_path / "golden.npz", "u8s8"))


def test_a_golden_file_that_unpacks_to_much(folder: Path, tmp_path: Path) -> None:
    """A thousand times its size: 1.4 MB that hold 300 MB of zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (300_000_000,)})
    with (
        zipfile.ZipFile(tmp_path / "golden.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
        bomb.open("crops.npy", "w") as stream,
    ):
        stream.write(header.getvalue())
        for _ in range(300):
            stream.write(bytes(1_000_000))
    assert isinstance(read_or_refused(lambda: read_golden(tmp_path / "golden.npz", "u8s8")), EdgecellError)


# The whole bundle, its check sums made anew


@given(st.data(), st.sampled_from(["float.onnx", "u8s8.onnx"]))
@fuzz
def test_models_with_damaged_bytes(folder: Path, tmp_path: Path, data: st.DataObject, name: str) -> None:
    """What no engine can load, or what answers otherwise than the golden cells say."""
    from edgecell.engines.onnxrt import OnnxRuntimeEngine

    shutil.copytree(folder, tmp_path / "bundle", dirs_exist_ok=True)
    (tmp_path / "bundle" / name).write_bytes(data.draw(damaged((folder / name).read_bytes())))

    def opened() -> None:
        with OnnxRuntimeEngine(tmp_path / "bundle" / name):
            pass

    read_or_refused(opened)
