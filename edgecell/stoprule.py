"""When enough is counted: a number of cells, or intervals that are narrow enough.

Pure: counts in, how far the rule is out. Both rules end a run at the first frame after which they hold. A number of cells says
nothing of what the cells are, so the intervals hold as ever. A width does: a run that happens to see few cells of a class ends
early. How much that costs was measured (DECISIONS.md, tests/unit/test_stop_coverage.py).
"""

from collections.abc import Mapping

from edgecell.bundle import CellClass
from edgecell.errors import SettingsError
from edgecell.intervals import together
from edgecell.settings import StopSettings
from edgecell.wire import Stop


def check(rule: StopSettings, classes: Mapping[str, CellClass]) -> None:
    """Raises SettingsError for a class that is not in the differential, or twice."""
    known = _inside(classes)
    strange = [name for name in rule.classes if name not in known]
    if strange or not known:
        what = f"stop: {strange[0]!r} is no class of the differential" if strange else "stop: the run has no differential"
        raise SettingsError(what, fix=f"its classes are: {', '.join(known)}" if known else "leave out the stop rule")
    twice = [name for name in rule.classes if rule.classes.count(name) > 1]
    if twice:
        raise SettingsError(f"stop: {twice[0]} stands twice in classes", fix="name each class once")


def look(rule: StopSettings, counts: Mapping[str, int], classes: Mapping[str, CellClass]) -> Stop:
    """How far it is. counts: decided cells by label. classes: label -> what it means, those that the rule was checked with."""
    inside = _inside(classes)
    n = sum(counts.get(label, 0) for label in inside)
    if rule.cells is not None:
        now, progress, reached = float(n), n / rule.cells, n >= rule.cells
    else:
        aim = rule.width or 0.0
        limits = (together(counts.get(label, 0), n, len(inside)) if n else (0.0, 1.0) for label in rule.classes)
        now = 100 * max(high - low for low, high in limits)
        progress, reached = (aim / now) ** 2, now < aim
    return Stop(
        cells=rule.cells,
        width=rule.width,
        classes=rule.classes,
        now=now,
        progress=1.0 if reached else min(progress, 0.999),
        reached=reached,
    )


def verdict(stop: Stop) -> str:
    """How it ended, for people, in one line."""
    return f"{'enough is counted' if stop.reached else 'NOT ENOUGH was counted'}: {stop}"


def _inside(classes: Mapping[str, CellClass]) -> list[str]:
    return [label for label, meaning in classes.items() if meaning.in_differential]
