"""The whole state of a training in one file, so that a killed one goes on where it was.

The file is replaced in one go: a kill leaves the old one or the new one. `marks` say what the training is of (its recipe, its
data, how it counts): a checkpoint with other marks is refused, never mixed in.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from calibration.files import write_whole
from edgecell.errors import SettingsError

Marks = Mapping[str, str]
BEGIN_ANEW = "start over with --fresh, or move that file away"


def save_tensors(path: Path, state: Mapping[str, Any]) -> None:
    """A mapping of tensors, numbers, text, and lists and mappings of these, such as a state_dict."""
    packed = io.BytesIO()
    torch.save(dict(state), packed)
    write_whole(path, packed.getvalue())


def save(path: Path, marks: Marks, state: Mapping[str, Any]) -> None:
    """The state of a training of what `marks` say."""
    save_tensors(path, {"marks": dict(marks), "state": dict(state)})


def load(path: Path, marks: Marks) -> dict[str, Any] | None:
    """The state in the file; None where there is none. Raises SettingsError for another training's and for what is none."""
    if not path.exists():
        return None
    found = torch.load(path, weights_only=True) if zipfile.is_zipfile(path) else {}
    if not {"marks", "state"} <= set(found):
        raise SettingsError(f"{path} is no checkpoint of an unfinished training", fix=BEGIN_ANEW)
    for name in dict.fromkeys([*marks, *found["marks"]]):
        old, new = found["marks"].get(name, "none"), marks.get(name, "none")
        if old != new:
            what = f"{path} is an unfinished training with another {name} ({_short(old)} there, {_short(new)} now)"
            raise SettingsError(what, fix=BEGIN_ANEW)
    state: dict[str, Any] = found["state"]
    return state


def _short(mark: str) -> str:
    """Enough of a sha256 to tell two apart."""
    return f"{mark[:12]}..." if len(mark) == 64 else mark
