"""The plan cache: a plan is found by its whole key or not at all, and what is damaged is never handed out."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_bundle import certified, make_tiny_bundle

from edgecell.bundle import Bundle, Encoding, open_bundle
from edgecell.engines.trt import plans
from edgecell.engines.trt.driver import Device, Driver
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.plans import Machine, NotPrepared, PlanRecord, Stored
from edgecell.errors import EngineError
from edgecell.files import write_whole

ORIN = Machine(tensorrt="10.3.0", device="Orin", compute_capability="8.7", driver="12.6", platform="L4T 36.4.3")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("plans") / "tiny")


def record(bundle: Bundle, encoding: Encoding = "s8s8", *, p50_ms: float = 1.0, refused: str = "") -> PlanRecord:
    return PlanRecord(
        key=plans.key_of(bundle.file(f"{encoding}.onnx"), bundle.manifest, ORIN),
        bundle=bundle.manifest.name,
        encoding=encoding,
        plan_sha256=None,
        build_s=61.5,
        p50_ms={bundle.manifest.input.batch.opt: p50_ms},
        deviation={"logits": 0.01},
        tolerance={"logits": 0.2},
        refused=refused,
        edgecell="1.0",
        utc="2026-01-31T12:00:00.000Z",
    )


def look(bundle: Bundle, folder: Path, machine: Machine = ORIN, encoding: Encoding = "s8s8") -> Stored:
    return plans.prepared(bundle.file(f"{encoding}.onnx"), bundle.manifest, machine, folder)


def test_what_is_stored_is_found_again(tiny: Bundle, tmp_path: Path) -> None:
    written = plans.store(record(tiny), b"a plan", tmp_path / "deep" / "plans")
    found = look(tiny, tmp_path / "deep" / "plans")
    assert (found.record, found.plan) == (written, b"a plan")
    assert list(plans.records(tmp_path / "deep" / "plans")) == [written]
    assert (tmp_path / "deep" / "plans").stat().st_mode & 0o077 == 0
    assert len(list((tmp_path / "deep" / "plans").iterdir())) == 2  # no temporary file is left


def test_nothing_prepared_says_how(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(NotPrepared, match=r"tiny has no int8 plan on this device\. Fix: edgecell prepare /.*tiny"):
        look(tiny, tmp_path / "none")
    shipped = open_bundle("bloodmnist28")
    with pytest.raises(NotPrepared, match=r"Fix: edgecell prepare bloodmnist28$"):
        look(shipped, tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tensorrt": "10.16.1"}, "TensorRT 10.3.0, this is 10.16.1"),
        ({"driver": "12.9"}, "the driver's CUDA 12.6, this is 12.9"),
        ({"compute_capability": "8.9", "device": "RTX"}, "device Orin, this is RTX; compute capability 8.7, this is 8.9"),
        ({"platform": "L4T 35.1"}, "platform L4T 36.4.3, this is L4T 35.1"),
    ],
)
def test_a_plan_of_another_key_is_never_loaded(tiny: Bundle, tmp_path: Path, changes: dict[str, str], says: str) -> None:
    plans.store(record(tiny), b"a plan", tmp_path)
    with pytest.raises(EngineError, match=f"the int8 plan of tiny was prepared with {says}. Fix: edgecell prepare"):
        look(tiny, tmp_path, msgspec.structs.replace(ORIN, **changes))


def test_other_shapes_are_another_key(tiny: Bundle, tmp_path: Path) -> None:
    plans.store(record(tiny), b"a plan", tmp_path)
    batch = msgspec.structs.replace(tiny.manifest.input.batch, max=5)
    other = msgspec.structs.replace(tiny.manifest, input=msgspec.structs.replace(tiny.manifest.input, batch=batch))
    with pytest.raises(EngineError, match=r"prepared with shapes 1x3x32x32 4x3x32x32 8x3x32x32, this is .* 5x3x32x32"):
        plans.prepared(tiny.file("s8s8.onnx"), other, ORIN, tmp_path)


def test_of_several_other_keys_the_nearest_is_named(tiny: Bundle, tmp_path: Path) -> None:
    for tensorrt, driver in (("8.6.1", "1"), ("10.16.1", "12.6")):
        made = record(tiny)
        key = msgspec.structs.replace(made.key, tensorrt=tensorrt, driver=driver)
        plans.store(msgspec.structs.replace(made, key=key), b"a plan", tmp_path)
    with pytest.raises(EngineError, match=r"prepared with TensorRT 10\.16\.1, this is 10\.3\.0\. Fix"):
        look(tiny, tmp_path)


def test_a_model_of_the_same_name_is_another_key(tiny: Bundle, tmp_path: Path) -> None:
    plans.store(record(tiny), b"a plan", tmp_path / "plans")
    copied = make_tiny_bundle(tmp_path / "tiny")
    shutil.copy(copied.path / "u8s8.onnx", copied.path / "s8s8.onnx")
    retrained = certified(copied.path, copied.manifest)
    with pytest.raises(NotPrepared):
        look(retrained, tmp_path / "plans")


@pytest.mark.parametrize("plan", [b"", b"a pla", b"a plan and more", None])
def test_a_corrupt_plan_is_never_loaded(tiny: Bundle, tmp_path: Path, plan: bytes | None) -> None:
    plans.store(record(tiny), b"a plan", tmp_path)
    (path,) = tmp_path.glob("*.plan")
    path.unlink() if plan is None else path.write_bytes(plan)
    with pytest.raises(EngineError, match=f"plan {path} (is corrupt|cannot be read).*Fix: edgecell prepare"):
        look(tiny, tmp_path)
    plans.store(record(tiny), b"built again", tmp_path)
    assert look(tiny, tmp_path).plan == b"built again"


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema":"plan/1"}', b"\xff\xfe"])
def test_a_damaged_record_is_never_believed(tiny: Bundle, tmp_path: Path, content: bytes) -> None:
    plans.store(record(tiny), b"a plan", tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(content)
    with pytest.raises(EngineError, match=f"plan record {path} cannot be read.*Fix: edgecell prepare"):
        look(tiny, tmp_path)
    assert list(plans.records(tmp_path)) == []


def test_a_record_put_under_another_name_is_never_believed(tiny: Bundle, tmp_path: Path) -> None:
    """As if somebody renamed the files of an older TensorRT."""
    made = record(tiny)
    plans.store(made, b"mine", tmp_path)
    (mine,) = tmp_path.glob("*.json")
    old = msgspec.structs.replace(made, key=msgspec.structs.replace(made.key, tensorrt="8.6.1"))
    plans.store(old, b"old", tmp_path / "old")
    (theirs,) = (tmp_path / "old").glob("*.json")
    theirs.replace(mine)
    with pytest.raises(EngineError, match=r"of another key: TensorRT 8\.6\.1, this is 10\.3\.0"):
        look(tiny, tmp_path)


def test_a_plan_that_was_written_halfway_is_found_out(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power goes between plan and record: the record that is there is of the plan before."""
    plans.store(record(tiny), b"before", tmp_path)

    def plan_only(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        write_whole(path, data)

    monkeypatch.setattr("edgecell.engines.trt.plans.write_whole", plan_only)
    with pytest.raises(EngineError, match=r"cannot write a plan to .*: No space left on device\. Fix: free some space"):
        plans.store(record(tiny), b"after", tmp_path)
    with pytest.raises(EngineError, match="corrupt"):
        look(tiny, tmp_path)


def test_a_refused_plan_is_remembered_and_gone(tiny: Bundle, tmp_path: Path) -> None:
    plans.store(record(tiny), b"a plan", tmp_path)
    plans.store(record(tiny, refused="golden cell 3 deviates by 9 in logits, 0.2 is allowed"), b"a plan", tmp_path)
    assert list(tmp_path.glob("*.plan")) == []
    with pytest.raises(EngineError, match="the int8 plan of tiny was refused: golden cell 3 deviates"):
        look(tiny, tmp_path)
    kept = plans.stored(tiny.file("s8s8.onnx"), record(tiny).key, tmp_path)
    assert (kept.record.refused[:13], kept.plan) == ("golden cell 3", b"")


def test_runs_take_the_fastest_plan_that_may_be_used(tiny: Bundle, tmp_path: Path) -> None:
    plans.store(record(tiny, "s8s8", p50_ms=2.0), b"int8", tmp_path)
    assert plans.chosen(tiny, ORIN, tmp_path).encoding == "s8s8"
    plans.store(record(tiny, "float", p50_ms=1.0), b"fp16", tmp_path)
    assert plans.chosen(tiny, ORIN, tmp_path).encoding == "float"
    assert plans.chosen(tiny, ORIN, tmp_path, "int8").encoding == "s8s8"
    plans.store(record(tiny, "float", refused="golden cell 0 is called lymphocyte"), b"fp16", tmp_path)
    assert plans.chosen(tiny, ORIN, tmp_path).encoding == "s8s8"
    with pytest.raises(EngineError, match="fp16 plan of tiny was refused"):
        plans.chosen(tiny, ORIN, tmp_path, "fp16")


def test_without_a_plan_what_is_wrong_with_one_says_most(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(NotPrepared, match="no int8 plan"):
        plans.chosen(tiny, ORIN, tmp_path)
    plans.store(record(tiny, "float"), b"fp16", tmp_path)
    with pytest.raises(EngineError, match="the fp16 plan of tiny was prepared with TensorRT"):
        plans.chosen(tiny, msgspec.structs.replace(ORIN, tensorrt="8.6.1"), tmp_path)


def test_the_folder_is_the_user_s_cache_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert plans.folder_of(None) == tmp_path / ".cache" / "edgecell" / "plans"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, as the XDG specification says
    assert plans.folder_of(None) == tmp_path / ".cache" / "edgecell" / "plans"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert plans.folder_of(None) == tmp_path / "cache" / "edgecell" / "plans"
    assert plans.folder_of(tmp_path / "mine") == tmp_path / "mine"


def test_a_segmenter_takes_any_size_up_to_the_largest() -> None:
    bundle = open_bundle("cells3")
    profile = plans.profile_of(bundle.manifest)
    assert (profile.min, profile.opt, profile.max) == ((1, 3, 16, 16), (1, 3, 480, 768), (4, 3, 4096, 4096))
    key = plans.key_of(bundle.file("fp16.onnx"), bundle.manifest, ORIN)
    assert (key.precision, key.profile) == ("fp16", "1x3x16x16 1x3x480x768 4x3x4096x4096")


def test_each_version_and_device_learns_kernels_of_its_own(tmp_path: Path) -> None:
    other = msgspec.structs.replace(ORIN, device="NVIDIA RTX 4000 (Ada) /x", compute_capability="8.9")
    assert plans.timing_cache(tmp_path, ORIN) == plans.timing_cache(tmp_path, ORIN)
    assert plans.timing_cache(tmp_path, ORIN).name == "timing-10.3.0-8.7-Orin.cache"
    assert plans.timing_cache(tmp_path, other) == tmp_path / "timing-10.3.0-8.9-NVIDIA-RTX-4000-Ada-x.cache"


def test_the_machine_is_what_driver_and_library_say() -> None:
    orin = Device(index=0, name="Orin", compute_capability="8.7", memory_bytes=1 << 33)
    driver = Driver(version="12.6", devices=(orin,), platform="L4T 36.4.3")
    unused: Any = None
    library = Library(module=unused, version=(10, 3, 0), text="10.3.0")
    assert plans.machine_of(driver, library) == ORIN
    with pytest.raises(EngineError, match=r"there is no CUDA device 1, only 1\. Fix: correct `device`"):
        plans.machine_of(driver, library, 1)


def test_a_bundle_without_a_model_for_it_is_an_engine_error(tiny: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot read .*nowhere"):
        plans.prepared(tmp_path / "nowhere.onnx", tiny.manifest, ORIN, tmp_path)
