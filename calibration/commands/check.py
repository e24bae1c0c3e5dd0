"""`python -m calibration check`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec

from edgecell.bundle import open_bundle


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="BUNDLE|ONNX...")
@click.option(
    "--keep", multiple=True, metavar="NODE", help="A layer that an ONNX file leaves float on purpose. May be repeated."
)
@click.option("--reference", is_flag=True, help="Compute the bundles' golden cells in exact integers too, layer by layer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def command(ctx: click.Context, models: tuple[str, ...], keep: tuple[str, ...], reference: bool, as_json: bool) -> None:
    """Name every rule for INT8 models that a file breaks.

    A bundle's s8s8.onnx must be what TensorRT accepts and fuses, its u8s8.onnx what ONNX Runtime computes in integers. An ONNX
    file is checked as u8s8 if all its activations are uint8, else as s8s8. Exit code 1 if a rule is broken.

    \b
    Example:
      python -m calibration check pbc8 my_model.onnx

    --reference adds, for each layer of u8s8 on the golden cells, the share of values that ONNX Runtime has one step beside the
    exact integer; a value further off breaks a rule too.
    """
    checked = [one for model in models for one in _check(model, keep)]
    layers = [layer for model in models if _is_bundle(model) for layer in _layers(model)] if reference else []
    if as_json:
        click.echo(msgspec.json.encode({"files": checked, "layers": layers} if reference else {"files": checked}))
    else:
        for each in checked:
            broken = each["violations"]
            click.echo(f"{each['file']} ({each['encoding']}): {f'{len(broken)} violations' if broken else 'ok'}")
            for one in broken:
                click.echo(f"  {one['node']}: {one['text']} (rule {one['rule']})")
        for layer in layers:
            click.echo(
                f"{layer['bundle']}  {layer['op']:<5} {layer['layer']:<36} {layer['values']:>9} values, "
                f"{layer['beside']} one step beside ({layer['share']:.1e}), largest {layer['worst']}"
            )
    if any(each["violations"] for each in checked) or any(layer["worst"] > 1 for layer in layers):
        ctx.exit(1)


def _is_bundle(model: str) -> bool:
    return not (model.endswith(".onnx") and Path(model).is_file())


def _check(model: str, keep: tuple[str, ...]) -> list[dict[str, Any]]:
    """One entry for each INT8 file: where it is, its encoding, and the rules that it breaks."""
    from calibration import cpu_rules, rules
    from calibration.qdq_graph import QdqGraph

    if _is_bundle(model):
        bundle = open_bundle(model)
        files = [(bundle.file(f"{encoding}.onnx"), encoding) for encoding in ("s8s8", "u8s8")]
        kept = bundle.manifest.quantization.kept_float
    else:
        files, kept = [(Path(model), QdqGraph.load(Path(model)).encoding())], keep
    check = {"s8s8": rules.violations, "u8s8": cpu_rules.violations}
    return [
        {"file": str(path), "encoding": encoding, "violations": [asdict(one) for one in check[encoding](path, kept)]}
        for path, encoding in files
    ]


def _layers(model: str) -> list[dict[str, Any]]:
    """Each quantized layer of a bundle's `u8s8` on its golden cells: ONNX Runtime beside the exact integers."""
    from calibration.step_shares import step_shares
    from edgecell.golden import GOLDEN, inputs, read_golden

    bundle = open_bundle(model)
    cells = inputs(read_golden(bundle.file(GOLDEN), "u8s8").crops, bundle.manifest)
    return [
        {"bundle": bundle.manifest.name, **asdict(each), "share": each.share}
        for each in step_shares(bundle.file("u8s8.onnx"), cells)
    ]
