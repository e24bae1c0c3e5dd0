"""What the stand-in for TensorRT defines, as the version that the environment names: as JSON, class -> name -> arguments.

Beside it `vendor_names` prints what the real package has, so that a stand-in which knows more than the real one is noticed.
"""

import inspect
import json
import sys
from enum import EnumMeta


def defined() -> dict[str, dict[str, list[str]]]:
    """Public names of each class, with the arguments of what is a method. "" is the package itself."""
    import tensorrt

    every = {name: each for name, each in vars(tensorrt).items() if isinstance(each, type)}
    classes = {name: each for name, each in every.items() if each.__module__.startswith("stand_ins.")}
    classes["ILogger.Severity"] = tensorrt.ILogger.Severity
    found = {name: _members(each) for name, each in classes.items()}
    return {"": {name: [] for name in classes if "." not in name}, **found}


def _members(owner: type) -> dict[str, list[str]]:
    if isinstance(owner, EnumMeta):
        return {name: [] for name in owner.__members__}
    public = {name: each for name, each in vars(owner).items() if not name.startswith("_")}
    return {name: _arguments(each) if inspect.isfunction(each) else [] for name, each in public.items()}


def _arguments(method: object) -> list[str]:
    assert callable(method)
    return [name for name in inspect.signature(method).parameters if name != "self"]


if __name__ == "__main__":
    json.dump(defined(), sys.stdout)
