"""What stands of a run's reviews: they are folded, event by event, into one word for each cell."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from edgecell.journal.events import Reviewed, SignedOff

Place: TypeAlias = tuple[int, int]
"""A cell of a run: indices of its frame and of itself in it."""


class Standing:
    """Of one run. Of what several people said of a cell, the latest stands. Once that is undone, what was said before it stands
    again; undone twice, by two people at once, it is undone once.

    A sign-off stands until something is said after it.
    """

    def __init__(self, events: Iterable[tuple[int, Reviewed | SignedOff]] = ()) -> None:
        self._said: dict[Place, dict[int, Reviewed]] = {}
        self._operators: dict[str, None] = {}
        self._signed: SignedOff | None = None
        self.position = 0
        """Of the latest event, in the chain of reviews."""
        for position, event in events:
            self.add(position, event)

    def add(self, position: int, event: Reviewed | SignedOff) -> None:
        """The run's next event, at its position in the chain of reviews."""
        self.position = position
        if isinstance(event, SignedOff):
            self._signed = event
            return
        self._signed = None
        said = self._said.setdefault((event.frame, event.cell), {})
        if event.action == "undo":
            said.pop(event.undoes, None)
        else:
            said[position] = event
            self._operators[event.operator] = None
        if not said:
            del self._said[event.frame, event.cell]

    def of(self, cell: Place) -> Reviewed | None:
        """What stands of a cell: a relabel, a confirm or a reject; None where nothing does."""
        said = self._said.get(cell)
        return said[max(said)] if said else None

    def undoable(self, cell: Place) -> int:
        """Position of what stands of a cell; 0 where nothing does."""
        return max(self._said.get(cell, {}), default=0)

    @property
    def reviews(self) -> list[Reviewed]:
        """What stands, one for each cell reviewed."""
        return [said[max(said)] for said in self._said.values()]

    @property
    def cells(self) -> int:
        """How many are reviewed."""
        return len(self._said)

    @property
    def operators(self) -> tuple[str, ...]:
        """Whoever reviewed, in the order in which they began."""
        return tuple(self._operators)

    @property
    def signed_off(self) -> SignedOff | None:
        """The sign-off that nothing was said after. It is of the windows that it names: the run may have more by now."""
        return self._signed

    def told(self, windows: int) -> dict[str, Any]:
        """How far a run of so many windows was reviewed, and who stands by its counts as they are now, as plain values."""
        signed = self._signed if self._signed and self._signed.windows == windows else None
        by = {"operator": signed.operator, "utc": signed.utc} if signed else None
        return {"cells": self.cells, "operators": self.operators, "signed_off": by}
