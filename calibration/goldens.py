"""A bundle's golden answers: those of the float model and of both INT8 encodings, and how far an engine may be from them.

`s8s8` is for TensorRT, which computes what is left float in half precision or TF32, the first layer too, so that values all
over the model round to another step. OpenVINO adds up residual sums of `u8s8` without rounding what goes into them. What either
does to the answers is emulated, and added to the tolerance of that encoding.
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.certify import SIZE
from calibration.int8 import ENCODINGS
from edgecell.adapt.onnxfile import with_halves, with_unrounded_sums
from edgecell.bundle import Bundle, Encoding, write_manifest
from edgecell.certificate import CERTIFICATE, Certificate, Figure, Limit, margin_of
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import BundleError, SettingsError
from edgecell.golden import GOLDEN, Arrays, inputs, read_golden, write_golden

LOG = logging.getLogger("edgecell.calibration")
BATCH = 16


def write(folder: Path, pictures: NDArray[np.uint8], batch: NDArray[np.float32]) -> None:
    """golden.npz of the models in `folder`. pictures: uint8 (N, S, S, 3); batch: the same as the models' input.

    Raises SettingsError where the model decides none of them clearly.
    """
    reference = answers(folder / "float.onnx", "float", batch)
    encoded = {encoding: answers(folder / f"{encoding}.onnx", encoding, batch) for encoding in ENCODINGS}
    with tempfile.TemporaryDirectory() as scratch:
        halved = answers(with_halves(folder / "s8s8.onnx", Path(scratch) / "s8s8.onnx"), "s8s8", batch)
        summed = answers(with_unrounded_sums(folder / "u8s8.onnx", Path(scratch) / "u8s8.onnx"), "u8s8", batch)
    try:
        kept = write_golden(folder / GOLDEN, pictures, reference, encoded, {"s8s8": halved, "u8s8": summed})
    except ValueError as error:
        raise SettingsError(f"bundle {folder}: {error}", fix="train longer, or on more cells") from error
    LOG.info("%d golden cells", kept)


def answers(model: Path, encoding: Encoding, batch: NDArray[np.float32]) -> Arrays:
    """All outputs, N in front. `s8s8` is computed as written, with graph optimisation off, which is exact fake quantization."""
    options = OnnxRuntimeOptions(threads=2, optimise=encoding != "s8s8")
    with OnnxRuntimeEngine(model, options=options) as engine:
        parts = [engine.infer(batch[at : at + BATCH]) for at in range(0, len(batch), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def renew(bundle: Bundle) -> Bundle:
    """The bundle's own golden pictures, answered anew; models, threshold, card and measured figures stay.

    Its certificate is bound to the new manifest, with the new size; a signature, which spoke of the old one, goes. Raises
    BundleError when the files have become too large.
    """
    pictures = read_golden(bundle.file(GOLDEN), "float").crops
    write(bundle.path, pictures, inputs(pictures, bundle.manifest))
    proof = bundle.certificate and _resized(bundle.certificate, bundle)
    return write_manifest(bundle.path, bundle.manifest, proof)


def _resized(old: Certificate, bundle: Bundle) -> Certificate:
    """The certificate with the size of the files as they are now (1 MB = 1,000,000 bytes)."""
    names = [name for name in bundle.manifest.files if name != CERTIFICATE]
    size_mb = sum((bundle.path / name).stat().st_size for name in names) / 1e6
    figures = {**old.figures, SIZE: Figure(value=size_mb)} if SIZE in old.figures else old.figures
    return Certificate(
        measured_on=old.measured_on,
        figures=figures,
        libraries=old.libraries,
        limits=tuple(_of_size(each, size_mb) if each.figure == SIZE else each for each in old.limits),
        splits=old.splits,
        recipe_sha256=old.recipe_sha256,
        commit=old.commit,
        adapted_from=old.adapted_from,
    )


def _of_size(limit: Limit, size_mb: float) -> Limit:
    margin = margin_of(limit.bound, limit.limit, size_mb)
    if margin < 0:
        raise BundleError(f"the bundle has {size_mb:.4g} MB now, {limit.bound} {limit.limit:g} is wanted")
    return Limit(figure=SIZE, bound=limit.bound, limit=limit.limit, value=size_mb, margin=margin)
