"""Certificates: nothing of a bundle can be changed alone, and the error names what was changed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import certified, make_tiny_bundle

from edgecell.bundle import MANIFEST, Bundle, open_bundle, sha256_of, write_manifest
from edgecell.certificate import CERTIFICATE, Certificate, Figure, canonical, margin_of, read, versions
from edgecell.errors import BundleCorrupt


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "tiny")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def relist(bundle: Bundle, *names: str) -> None:
    """Bring the manifest's checksums up to date, as a forger would."""
    edit(bundle.path / MANIFEST, lambda manifest: manifest["files"].update({n: sha256_of(bundle.path / n) for n in names}))


def test_a_certificate_holds_the_manifest_but_for_its_own_sum(tiny: Bundle) -> None:
    certificate = tiny.certificate
    assert certificate is not None
    manifest = json.loads((tiny.path / MANIFEST).read_bytes())
    assert manifest["files"].pop(CERTIFICATE) == sha256_of(tiny.path / CERTIFICATE)
    assert certificate.manifest == manifest
    assert set(certificate.manifest["files"]) >= {"float.onnx", "s8s8.onnx", "u8s8.onnx", "golden.npz", "CARD.md"}
    assert certificate.libraries["numpy"].split(".")[0].isdecimal()
    assert certificate.libraries["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "1 limit met, the closest tiny.accuracy 0.5, at least 0.25; not signed" in tiny.proof


def test_a_flipped_bit_in_any_file_is_found(tiny: Bundle) -> None:
    """Of every file, the manifest and the certificate among them, at its start, in its middle and at its end."""
    for path in sorted(tiny.path.iterdir()):
        good = path.read_bytes()
        for at in (0, len(good) // 2, len(good) - 2):  # the last byte of the JSON files is a newline
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            with pytest.raises(BundleCorrupt):
                open_bundle(tiny.path)
        path.write_bytes(good)
    open_bundle(tiny.path)


@pytest.mark.parametrize("name", ["float.onnx", "s8s8.onnx", "u8s8.onnx", "golden.npz", "CARD.md"])
def test_a_file_that_is_exchanged_with_its_sum_is_still_not_the_certified_one(tiny: Bundle, name: str) -> None:
    """Which is also an old certificate beside new files."""
    with (tiny.path / name).open("ab") as stream:
        stream.write(b"x")
    relist(tiny, name)
    with pytest.raises(BundleCorrupt, match=rf"certificate\.json is not of this bundle: in the manifest files\.{name}"):
        open_bundle(tiny.path)


def test_a_file_that_nobody_certified_cannot_be_slipped_in(tiny: Bundle) -> None:
    (tiny.path / "fp16.onnx").write_bytes(b"x")
    relist(tiny, "fp16.onnx")
    with pytest.raises(BundleCorrupt, match=r"files\.fp16\.onnx was added"):
        open_bundle(tiny.path)


def leaves(tree: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value that is no table or list."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        yield path
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


def change_leaf(tree: Any, path: tuple[Any, ...]) -> None:
    *way, last = path
    for key in way:
        tree = tree[key]
    tree[last] = _other(tree[last])


def _other(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{'1' if value.startswith('0') else '0'}{value[1:]}"
    return 0.5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("certificate") / "tiny")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_of_the_manifest_can_be_edited(shared: Bundle, data: st.DataObject) -> None:
    """Not one threshold, class, colour, figure or origin, and nothing can be added or left out."""
    path = shared.path / MANIFEST
    good = path.read_bytes()
    manifest = json.loads(good)
    where = data.draw(st.sampled_from(sorted(leaves(manifest), key=str)))
    how = data.draw(st.sampled_from(["change", "remove", "add"]))
    *way, last = where
    inside = manifest
    for key in way:
        inside = inside[key]
    if how == "change":
        change_leaf(manifest, where)
    elif how == "remove":
        del inside[last]
    elif isinstance(inside, dict):
        inside["another"] = inside[last]
    else:
        inside.append(inside[last])
    path.write_text(json.dumps(manifest))
    try:
        with pytest.raises(BundleCorrupt):
            open_bundle(shared.path)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m["confidence"].update(unsure_below=0.1), r"confidence\.unsure_below is 0\.1, certified is 0\.6"),
        (lambda m: m["classes"][1].update(in_differential=False), r"classes\[1\]\.in_differential is false, certified is true"),
        (lambda m: m["preprocess"].update(pixel_um=0.4), r"preprocess\.pixel_um is 0\.4, certified is 0\.5"),
        (lambda m: m["metrics"].update({"tiny.accuracy": 0.99}), r"metrics\.tiny\.accuracy is 0\.99, certified is 0\.5"),
        (lambda m: m["provenance"].update(commit="abc"), r'provenance\.commit is "abc", certified is "none"'),
    ],
)
def test_what_was_edited_is_named_with_both_values(tiny: Bundle, change: Callable[[Any], None], says: str) -> None:
    edit(tiny.path / MANIFEST, change)
    with pytest.raises(BundleCorrupt, match=says):
        open_bundle(tiny.path)


def test_no_value_of_the_certificate_can_be_edited(tiny: Bundle) -> None:
    path = tiny.path / CERTIFICATE
    good = path.read_bytes()
    for where in leaves(json.loads(good)):
        edit(path, lambda certificate, where=where: change_leaf(certificate, where))  # type: ignore[misc]
        with pytest.raises(BundleCorrupt, match=r"certificate\.json is not the file that manifest\.json lists"):
            open_bundle(tiny.path)
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["figures"]["tiny.accuracy"].update(value=0.99), r"figure tiny\.accuracy is 0\.99, .* metrics say 0\.5"),
        (lambda c: c["figures"]["tiny.accuracy"].update(value=None), r"figure tiny\.accuracy is null"),
        (lambda c: c["limits"][0].update(value=0.6), r"limit on tiny\.accuracy was met with 0\.6, the figure is 0\.5"),
        (lambda c: c["limits"][0].update(limit=0.4), r"limit on tiny\.accuracy: .* is no margin of 0\.25"),
        (lambda c: c["limits"][0].update(figure="tiny.recall"), r"limit on tiny\.recall was met with 0\.5, the figure is null"),
        (lambda c: c["limits"][0].update(limit=0.6, margin=-0.1), "margin"),
        (lambda c: c.update(grade="A"), "grade"),
        (lambda c: c.update(schema="certificate/9"), "schema"),
        (lambda c: c["manifest"].update(version="2.0.0"), r'version is "1\.0\.0", certified is "2\.0\.0"'),
    ],
)
def test_an_edited_figure_or_limit_is_named_even_where_its_sum_was_brought_up_to_date(
    tiny: Bundle, change: Callable[[Any], None], says: str
) -> None:
    edit(tiny.path / CERTIFICATE, change)
    relist(tiny, CERTIFICATE)
    with pytest.raises(BundleCorrupt, match=says):
        open_bundle(tiny.path)


def test_certificates_cannot_be_swapped(tiny: Bundle, tmp_path: Path) -> None:
    other = make_tiny_bundle(tmp_path / "other")
    confidence = msgspec.structs.replace(other.manifest.confidence, unsure_below=0.9)
    other = certified(other.path, msgspec.structs.replace(other.manifest, name="other", confidence=confidence))
    shutil.copyfile(other.path / CERTIFICATE, tiny.path / CERTIFICATE)
    with pytest.raises(BundleCorrupt, match="not the file that manifest"):
        open_bundle(tiny.path)
    relist(tiny, CERTIFICATE)
    with pytest.raises(BundleCorrupt, match=r"confidence\.unsure_below is 0\.6, certified is 0\.9 \(and 1 more\)"):
        open_bundle(tiny.path)


def test_a_certificate_cannot_be_hidden_by_not_listing_it(tiny: Bundle) -> None:
    edit(tiny.path / MANIFEST, lambda manifest: manifest["files"].pop(CERTIFICATE))
    with pytest.raises(BundleCorrupt, match=r"certificate\.json that its manifest\.json does not list"):
        open_bundle(tiny.path)


def test_a_new_manifest_does_not_keep_the_old_certificate(tiny: Bundle) -> None:
    (tiny.path / "certificate.sig").write_text("{}")
    again = write_manifest(tiny.path, tiny.manifest)
    assert again.certificate is None
    assert again.proof == "no certificate"
    assert not (tiny.path / CERTIFICATE).exists()
    assert not (tiny.path / "certificate.sig").exists()


def test_a_certificate_that_is_no_json_is_named(tiny: Bundle) -> None:
    (tiny.path / CERTIFICATE).write_text('{"schema": ')
    with pytest.raises(BundleCorrupt, match=CERTIFICATE):
        read(tiny.path / CERTIFICATE, (tiny.path / MANIFEST).read_bytes())


def test_canonical_bytes_depend_on_nothing_but_the_values(tiny: Bundle) -> None:
    raw = (tiny.path / CERTIFICATE).read_bytes()
    expected = canonical(raw)
    assert b"\n" not in expected
    assert b": " not in expected
    assert canonical(expected) == expected
    backwards = dict(reversed(json.loads(raw).items()))
    assert canonical(json.dumps(backwards, indent=7, ensure_ascii=True).encode()) == expected
    assert canonical('{"b":1e-7,"a":[1.0,0.1,"µm"],"c":null}'.encode()) == '{"a":[1.0,0.1,"µm"],"b":1e-07,"c":null}'.encode()


def test_canonical_bytes_are_the_same_in_another_process(tiny: Bundle) -> None:
    read_and_write = "sys.stdout.buffer.write(canonical(pathlib.Path(sys.argv[1]).read_bytes()))"
    code = f"import sys, pathlib; from edgecell.certificate import canonical; {read_and_write}"
    path = tiny.path / CERTIFICATE
    root = Path(__file__).parents[2]
    for seed in ("0", "12345"):
        environment = {"PYTHONPATH": str(root), "PYTHONHASHSEED": seed, "LC_ALL": "C"}
        ended = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, check=True)
        assert ended.stdout == canonical(path.read_bytes())


def test_margins_point_inward() -> None:
    assert margin_of("at least", 0.97, 0.96) == pytest.approx(-0.01)
    assert margin_of("at most", 0.97, 0.96) == pytest.approx(0.01)


def test_a_figure_in_words() -> None:
    assert str(Figure(value=None, n=3)) == "insufficient (n 3)"
    assert str(Figure(value=0.97584, n=2442, low=0.96894, high=0.98156)) == "0.97584 (n 2442, 95 % 0.9689-0.9816)"
    assert str(Figure(value=5.9129)) == "5.9129"


def test_limits_are_optional_in_words() -> None:
    plain = Certificate(measured_on="test split", figures={"a": Figure(value=1.0)}, libraries=versions())
    assert str(plain) == "certificate: 1 figures of the test split, 0 limits met"
