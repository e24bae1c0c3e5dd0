"""Which names of TensorRT the code of a package uses, and for which versions: as mypy resolves each against the vendor's stubs.

`uses` reads what mypy knows after checking, so `config.set_flag` is found as a use of IBuilderConfig.set_flag wherever `config`
comes from. Run as a script beside the real bindings, this prints what they have.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Version = tuple[int, ...]
STUBS, PACKAGE = "tensorrt_bindings.tensorrt.", "edgecell.engines.trt.vendor.TensorRt"


@dataclass(frozen=True, kw_only=True)
class Use:
    """name of a member of `owner` ("" is the package itself, "ILogger.Severity" a class in it), or of an argument of a method.

    since, until: versions that come by there, `until` not included, None: all.
    """

    owner: str
    name: str
    argument: str
    place: str
    since: Version
    until: Version | None

    def served(self, version: Version) -> bool:
        return version >= self.since and (self.until is None or version < self.until)

    def missing(self, names: Mapping[str, Mapping[str, str]]) -> str:
        """What of it is not among `names` (owner -> member -> docstring), "" if nothing is."""
        full = f"{self.owner}.{self.name}".lstrip(".")
        if self.name not in names.get(self.owner, {}):
            return f"{self.place}: {full}"
        if self.argument and not re.search(rf"\b{self.argument}:", names[self.owner][self.name]):
            return f"{self.place}: {full}({self.argument}=)"
        return ""


def ranges(source: Path) -> list[tuple[int, int, Version, Version | None]]:
    """First line, last line, since, until of each function marked by `serves`."""
    found = []
    functions = (node for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef))
    for node in functions:
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "serves":
                given = dict(zip(("since", "until"), map(ast.literal_eval, mark.args), strict=False))
                given |= {str(each.arg): ast.literal_eval(each.value) for each in mark.keywords}
                found.append((mark.lineno, node.end_lineno or 0, given["since"], given.get("until")))
    return found


def uses(package: str, root: Path) -> tuple[list[Use], list[str]]:
    """Every use of TensorRT in a package, and the places where an attribute is taken of what has no type."""
    from mypy import nodes
    from mypy.build import build
    from mypy.main import process_options

    sources, options = process_options(["--config-file", str(root / "pyproject.toml"), "--package", package])
    options.export_types, options.preserve_asts, options.incremental = True, True, False
    checked = build(sources, options)
    assert not checked.errors, checked.errors
    found: list[Use] = []
    untyped: list[str] = []
    for name in sorted(each for each in checked.files if f"{each}.".startswith(f"{package}.")):
        source = Path(checked.files[name].path)
        marks = ranges(source)
        for node in _nodes(checked.files[name]):
            line = node.line if isinstance(node, nodes.Node) else 0
            since, until = next(((low, high) for a, z, low, high in marks if a <= line <= z), ((0,), None))
            for owner, member, argument in _taken(node, checked.types):
                place = f"{source.name}:{line}"
                if owner is None:
                    untyped.append(f"{place}: {member}")
                else:
                    found.append(Use(owner=owner, name=member, argument=argument, place=place, since=since, until=until))
    return found, untyped


def _taken(node: object, known: Mapping[Any, object]) -> Iterator[tuple[str | None, str, str]]:
    """Owner, member and argument of what a node takes of TensorRT. Owner None: an attribute of what has no type."""
    from mypy import nodes

    if isinstance(node, nodes.MemberExpr):
        for owner in _owners(known.get(node.expr), node.name):
            yield owner, node.name, ""
    elif isinstance(node, nodes.CallExpr) and isinstance(node.callee, nodes.MemberExpr):
        for owner in _owners(known.get(node.callee.expr), node.callee.name):
            yield from ((owner, node.callee.name, each) for each in node.arg_names if each and owner is not None)
    elif isinstance(node, nodes.ClassDef):  # one derived from TensorRT's: what it overrides
        base = next((each.fullname for each in node.info.mro if each.fullname.startswith(STUBS)), "")
        methods = [each.name for each in node.defs.body if isinstance(each, nodes.FuncDef)] if base else []
        yield from ((base.removeprefix(STUBS), each, "") for each in methods if each in node.info.mro[1].names)


def _nodes(node: object) -> Iterator[object]:
    """Every node under a file's tree. mypy's own visitors cannot be subclassed outside it."""
    from mypy import nodes

    seen: set[int] = set()
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, (nodes.MypyFile, nodes.Statement, nodes.Expression, nodes.FuncItem)) and id(each) not in seen:
            seen.add(id(each))
            yield each
            # What a name refers to leads out of the file.
            waiting += [
                getattr(each, name, None) for name in vars(type(each))["__mypyc_attrs__"] if name not in {"node", "info"}
            ]


def _owners(type_: object, name: str) -> Iterator[str | None]:
    """The class of TensorRT's in whose object the attribute `name` is looked up; None where anything goes."""
    from mypy import types

    if not isinstance(type_, types.Type):
        return
    proper = types.get_proper_type(type_)
    if isinstance(proper, types.AnyType):
        yield None
    elif isinstance(proper, types.UnionType):
        for each in proper.items:
            yield from _owners(each, name)
    elif isinstance(proper, types.TypeType):
        yield from _owners(proper.item, name)
    elif isinstance(proper, types.FunctionLike) and proper.is_type_obj():
        yield from _owners(proper.items[0].ret_type, name)
    elif isinstance(proper, types.Instance) and proper.type.fullname == PACKAGE:
        yield ""
    elif isinstance(proper, types.Instance):
        # What the stubs do not know of a class of TensorRT's is taken of that class all the same.
        first = next((each.fullname for each in proper.type.mro if name in each.names), proper.type.fullname)
        if first.startswith(STUBS):
            yield first.removeprefix(STUBS)


def offered() -> dict[str, dict[str, str]]:
    """What the installed package has: owner -> member -> docstring. It calls nothing in it."""
    import tensorrt_bindings as trt

    found: dict[str, dict[str, str]] = {}
    waiting: list[tuple[str, object]] = [("", trt)]
    while waiting:
        path, owner = waiting.pop()
        found[path] = {name: str(getattr(owner, name).__doc__) for name in dir(owner)}
        classes = [(name, getattr(owner, name)) for name in dir(owner) if isinstance(getattr(owner, name), type)]
        waiting += [(f"{path}.{name}".lstrip("."), each) for name, each in classes if not name.startswith("__")]
    return found


if __name__ == "__main__":
    json.dump(offered(), sys.stdout)
