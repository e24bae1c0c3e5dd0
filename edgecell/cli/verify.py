"""`edgecell verify`: two engines, or two encodings of a model, beside each other."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from edgecell.bundle import open_bundle
from edgecell.cli.count import PIXEL_UM
from edgecell.errors import BundleMismatch
from edgecell.messages import NOTICE
from edgecell.settings import engine_from_spec
from edgecell.signature import ANY
from edgecell.verify.result import CellsCompared, Compared, Deviation, FieldsCompared, Verification
from edgecell.verify.verifying import verify

SHOWN = 5
"""Differing cells in the text; --json has more."""


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--bundle", default="pbc8", show_default=True, help="A shipped bundle's name, or the folder of one.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), help="Also on the images in this folder and below.")
@click.option("--pixel-um", metavar="X", type=PIXEL_UM, help="Micrometres per pixel of those images.")
@click.option("--at-least", metavar="SHARE", type=click.FloatRange(0, 1), help="Fail where the two agree on less, e.g. 0.99.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    a: str,
    b: str,
    bundle: str,
    data: Path | None,
    pixel_um: float | None,
    at_least: float | None,
    as_json: bool,
) -> None:
    """Compare two engines, or two encodings of one model: A is judged by B.

    A and B are engines as --engine takes them: onnxrt, onnxrt:float (the encoding float on ONNX Runtime), onnxrt:s8s8 (computed
    as it is written, which is what TensorRT's INT8 is certified against), trt, trt:fp16.

    On the bundle's golden cells, and with --data on your own: images of one centred cell each, for a segmenter's bundle whole
    fields. Where folders are named after classes, it also says how many each side has right. It says how often the top class is
    the same, overall and for each class, the largest difference of any output with the cell that it is in, and which cells one
    side would count and the other not; of a segmenter how far the maps are alike and which cells both find.

    Exit code 0 whatever it finds, unless --at-least is given: then 4 where they agree on a smaller share.

    \b
    Examples:
      edgecell verify onnxrt onnxrt:float
      edgecell verify trt onnxrt --data mycells/ --pixel-um 0.068 --at-least 0.99
      edgecell verify trt:fp16 onnxrt:float --bundle cells3 --json
    """
    opened = open_bundle(bundle, ANY)
    found = verify(opened, engine_from_spec(a), engine_from_spec(b), data, pixel_um)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        Console(width=None if sys.stdout.isatty() else 128).print(_picture(found))
    for where, compared in _sets(found):
        if at_least is not None and compared.agreement < at_least:
            what = f"{a} and {b} agree on {100 * compared.agreement:.2f} % of the {where}, less than {100 * at_least:g} %"
            raise BundleMismatch(what, fix="do not use the first with this bundle; see above where they differ")


def _sets(found: Verification) -> list[tuple[str, Compared]]:
    what = "cells" if isinstance(found.golden, CellsCompared) else "cells found"
    golden = [(f"golden {what}", found.golden)]
    return golden if found.data is None else [*golden, (f"given {what}", found.data)]


def _picture(found: Verification) -> Group:
    head = [
        f"{found.bundle} {found.version}",
        f"A: {found.a.encoding}.onnx on {found.a.engine}",
        f"B: {found.b.encoding}.onnx on {found.b.engine}",
    ]
    parts = [
        part
        for where, compared in _sets(found)
        for part in (_cells(where, compared) if isinstance(compared, CellsCompared) else _fields(where, compared))
    ]
    return Group(Text("\n".join(head)), *parts, Text(NOTICE, style="italic"))


def _cells(where: str, found: CellsCompared) -> list[Table | Text]:
    table = Table("class (by B)", title=f"\n{found.cells} {where}", title_justify="left")
    for name in ("cells", "A agrees", *(("labelled so", "A right", "B right") if found.labelled else ())):
        table.add_column(name, justify="right")
    for name, each in found.by_class.items():
        label = found.labelled.get(name)
        told = (str(label.cells), str(label.right_a), str(label.right_b)) if label else ("-",) * 3
        table.add_row(name, str(each.cells), str(each.agree), *(told if found.labelled else ()))
    sure = found.decided
    lines = [
        f"same top class: {found.agree} of {found.cells} ({100 * found.agreement:.2f} %)",
        f"decided by both {sure.both}, only by A {sure.only_a}, only by B {sure.only_b}, by neither {sure.neither}",
        *(f"{name}: {_worst(each)}" for name, each in found.deviation.items()),
        *(f"{each.where}: A {each.a}, B {each.b} (logits differ by {each.deviation:.3g})" for each in found.differing[:SHOWN]),
        *([f"{found.unreadable} images could not be read"] if found.unreadable else []),
    ]
    return [table, Text("\n".join(lines))]


def _fields(where: str, found: FieldsCompared) -> list[Table | Text]:
    table = Table("kind", title=f"\n{where} in {found.fields} fields", title_justify="left")
    for name in ("by both", "only by A", "only by B"):
        table.add_column(name, justify="right")
    for name, each in found.found.items():
        table.add_row(name, str(each.both), str(each.only_a), str(each.only_b))
    return [table, Text("\n".join(_lines(found)))]


def _lines(found: FieldsCompared) -> Iterator[str]:
    yield f"of the cells that either found, both did {100 * found.agreement:.2f} %"
    for name, each in found.maps.items():
        same = "" if each.same_sign is None else f"{100 * each.same_sign:.3f} % of its numbers say the same, "
        yield f"{name}: {same}{_worst(each.deviation)}"
    if found.unreadable:
        yield f"{found.unreadable} images could not be read"


def _worst(of: Deviation) -> str:
    return f"largest difference {of.largest:.4g} in {of.where} (standard deviation of B's {of.spread:.4g})"
