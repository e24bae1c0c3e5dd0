"""A dataset as it lies there beside what is published of it: counts, sizes, copies, and everything that is not as it should be.

One image is in memory at a time; what is kept of each is its name, its fingerprint and its class, 1.5 kB.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from calibration.adapter import Adapter, Fault, Kind
from calibration.facts import Facts
from calibration.fingerprint import Fingerprint, fingerprint
from calibration.leaks import together
from calibration.sample import Sample
from edgecell.errors import FrameCorrupt, SettingsError

Progress = Callable[[int], None]
SHOWN = 20  # names of one kind of fault in a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """counts: cells by class. published: by class, where a figure is. sizes: images by `WIDTHxHEIGHT`."""

    dataset: str
    facts: Facts
    counts: dict[str, int]
    published: dict[str, int]
    sizes: dict[str, int]
    faults: tuple[Fault, ...]

    def summary(self) -> dict[str, object]:
        """All of it as plain values."""
        plain = {"dataset": self.dataset, "title": self.facts.title, "counts": self.counts, "published": self.published}
        return {**plain, "sizes": self.sizes, "faults": [asdict(fault) for fault in self.faults]}

    def __str__(self) -> str:
        sizes = ", ".join(f"{size} ({count})" for size, count in self.sizes.items())
        lines = [f"{self.dataset}: {self.facts.title}", f"{'class':<32}{'':<10}{'cells':>8}{'published':>11}"]
        known = {each.name: each.abbreviation for each in self.facts.classes}
        for name in dict.fromkeys((*known, *self.counts)):
            published = self.published.get(name, "-")
            lines.append(f"{name:<32}{known.get(name, ''):<10}{self.counts.get(name, 0):>8}{published:>11}")
        lines += [f"{sum(self.counts.values())} cells; images of {sizes or 'no size'}", *self._said()]
        return "\n".join(lines)

    def _said(self) -> Iterator[str]:
        by_kind: dict[str, list[Fault]] = defaultdict(list)
        for fault in self.faults:
            by_kind[fault.kind].append(fault)
        if not by_kind:
            yield "no fault"
        for kind, faults in by_kind.items():
            yield f"{kind}: {len(faults)}"
            yield from (f"  {fault.name}: {fault.what}" for fault in faults[:SHOWN])
            if len(faults) > SHOWN:
                yield f"  and {len(faults) - SHOWN} more (--json has them all)"


def inspect(dataset: str, source: Adapter, root: Path, *, partial: bool, progress: Progress = lambda _: None) -> Inspection:
    """Reads all of a dataset. partial: fewer cells than published are no fault. progress: called with the images so far.

    Raises SettingsError when the dataset is not there.
    """
    counts: Counter[str] = Counter()
    faults: list[Fault] = []
    names: Counter[str] = Counter()
    apart = source.facts.grouped_by == "field"  # copies are looked for among the fields, not the cells cut from them
    looks = _Looks()
    for each in source.scan(root):
        if isinstance(each, Fault):
            faults.append(each)
            continue
        counts.update(each.labels if len(each.labels) == 1 else ["(several left open)"])
        names[each.name] += 1
        if not apart:
            faults += looks.add(each)
        progress(names.total())
    for each in source.whole(root) if apart else ():
        faults += looks.add(each)
        progress(names.total())
    faults += [
        Fault(kind="name twice", name=name, what=f"is the name of {count} cells") for name, count in names.items() if count > 1
    ]
    faults += looks.copies(source.facts.alike)
    published = {each.name: each.count for each in source.facts.classes if each.count is not None}
    faults += _miscounted(counts, published, partial=partial)
    return Inspection(
        dataset=dataset,
        facts=source.facts,
        counts=dict(counts),
        published=published,
        sizes=dict(looks.sizes.most_common()),
        faults=tuple(faults),
    )


class _Looks:
    """What is kept of every image."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.labels: list[tuple[str, ...]] = []
        self.found: list[Fingerprint] = []
        self.sizes: Counter[str] = Counter()

    def add(self, sample: Sample) -> Iterator[Fault]:
        """Keeps it, or says why it is none."""
        try:
            found = fingerprint(sample)
        except (FrameCorrupt, SettingsError) as error:
            yield Fault(kind="unreadable", name=sample.name, what=str(error))
            return
        self.names.append(sample.name)
        self.labels.append(sample.labels)
        self.found.append(found)
        self.sizes["{}x{}".format(*found.size)] += 1

    def copies(self, alike: float) -> Iterator[Fault]:
        """Each copy beside the first of its group."""
        first: dict[int, int] = {}
        for place, group in enumerate(together(self.found, alike)):
            other = first.setdefault(group, place)
            if other != place:
                same = self.found[place].sha256 == self.found[other].sha256
                classes = sorted({*self.labels[place], *self.labels[other]})
                apart = f", in classes {' and '.join(classes)}" if self.labels[place] != self.labels[other] else ""
                kind: Kind = "near-copy"
                if same:
                    kind = "identical in two classes" if apart else "identical"
                yield Fault(kind=kind, name=self.names[place], what=f"a copy of {self.names[other]}{apart}")


def _miscounted(counts: Counter[str], published: dict[str, int], *, partial: bool) -> Iterator[Fault]:
    for name, count in published.items():
        if counts[name] > count or (counts[name] < count and not partial):
            yield Fault(kind="count", name=name, what=f"{counts[name]} cells, {count} published")
