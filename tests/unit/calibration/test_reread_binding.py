"""Who may work together."""

import msgspec
import pytest

from calibration.reread.binding import WorkerMismatch, binding, check, environment
from edgecell import app
from edgecell.settings import PartSettings, Settings

STAIN = PartSettings(part="stain")


def test_every_difference_is_named() -> None:
    mine = environment()
    check(mine, environment(), "worker 1")
    libraries = {**mine.libraries, "numpy": "1.0"}
    theirs = msgspec.structs.replace(mine, edgecell="0.0.9", libraries=libraries)
    said = rf"^worker 1 differs from this process: edgecell 0\.0\.9 instead of {mine.edgecell}, numpy 1\.0 instead of "
    with pytest.raises(WorkerMismatch, match=said) as raised:
        check(mine, theirs, "worker 1")
    assert "same checkout" in raised.value.fix


def test_other_code_of_the_same_version_is_told() -> None:
    mine = environment()
    with pytest.raises(WorkerMismatch, match=f"code 0000.* instead of {mine.code[:12]}"):
        check(mine, msgspec.structs.replace(mine, code="0" * 64), "worker 1")


def test_a_binding_depends_on_what_results_depend_on() -> None:
    plain = binding(app.plan(Settings(segmenter=STAIN)))
    assert plain == binding(app.plan(Settings(segmenter=STAIN, sample_id="another")))
    scaled = Settings(segmenter=PartSettings(part="stain", options={"pixel_um": 0.1}))
    assert binding(app.plan(scaled)).settings_sha256 != plain.settings_sha256
    assert [(each.role, each.name) for each in plain.bundles] == [("nucleated", "pbc8")]
    assert binding(app.plan(Settings(segmenter=STAIN, models={}))).bundles == ()
    learnt = binding(app.plan(Settings(segmenter=PartSettings(part="network"))))
    assert [(each.role, each.name) for each in learnt.bundles] == [("segmenter", "cells3"), ("nucleated", "pbc8")]
