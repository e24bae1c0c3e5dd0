"""The correction of a report for what its classifier is known to confuse."""

import msgspec

from edgecell.bundle import Bundle, open_bundle, shipped
from edgecell.correction import confusion_of, correct
from edgecell.errors import BundleError
from edgecell.messages import NUCLEATED
from edgecell.report.run import RunReport, UsedModel

_FIX = "report without --correct: the counts as they are stay valid"


def corrected(report: RunReport) -> RunReport:
    """The report with the machine's differential corrected beside it. What people said of cells needs no such correction.

    Raises BundleError where the run's classifier is not among the bundles here, or does not say what it confuses.
    """
    model = next((each for each in report.models if each.role == NUCLEATED), None)
    if model is None:
        raise BundleError(f"run {report.run_id} has no classifier of nucleated cells", fix=_FIX)
    confusion = confusion_of(_bundle(model).manifest)
    classes = {each.name: each for each in report.classes}
    return msgspec.structs.replace(report, corrected=correct(report.machine.counts, confusion, classes))


def _bundle(model: UsedModel) -> Bundle:
    """The bundle that the run was made with, if it ships: an adapted one has no labelled test cells."""
    told = f"bundle {model.name} {model.version}"
    if model.name not in shipped():
        raise BundleError(f"{told} does not ship with edgecell, so nothing is known of what it confuses", fix=_FIX)
    bundle = open_bundle(model.name)
    if bundle.sha256 != model.sha256:
        raise BundleError(f"the run was made with another {told} than is here now", fix=_FIX)
    return bundle
