"""What joins two threads: a bounded mailbox, with a policy for when it is full."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Items on their way from one thread to another, in order.

    Policy when `capacity` items that were put wait: `wait`, so that nothing is lost; or `drop_oldest`, so that nobody waits for
    who is behind and what arrives is fresh. That is the policy where `on_drop` is given: it is called with each item that had
    to go, on the thread that puts.
    """

    def __init__(self, capacity: int, on_drop: Callable[[Item], None] | None = None) -> None:
        self._capacity, self._on_drop = capacity, on_drop
        self._items: deque[tuple[Item, bool]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def over(self) -> bool:
        """Closed and empty: nothing will come any more."""
        with self._changed:
            return self._closed and not self._items

    @property
    def full(self) -> bool:
        """Whoever puts would have to wait, or to drop."""
        with self._changed:
            return self._held >= self._capacity

    def put(self, item: Item) -> bool:
        """Put it in by the policy. False: it was closed, and nobody will take the item."""
        gone: Item | None = None
        with self._changed:
            if self._on_drop is None:
                self._changed.wait_for(lambda: self._closed or self._held < self._capacity)
            elif not self._closed and self._held >= self._capacity:
                gone = self._oldest()
            taken = self._append(item, held=True)
        if gone is not None and self._on_drop is not None:
            self._on_drop(gone)
        return taken

    def push(self, item: Item) -> bool:
        """Put it in at once: for news that hold no image and do not count for the capacity. False as `put`."""
        with self._changed:
            return self._append(item, held=False)

    def get(self, timeout_s: float) -> Item | None:
        """The oldest item; None when none came within timeout_s or it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if not self._items:
                return None
            self._changed.notify_all()
            return self._oldest()

    def close(self) -> None:
        """Nothing goes in any more; what is in it can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _oldest(self) -> Item:
        item, held = self._items.popleft()
        self._held -= held
        return item

    def _append(self, item: Item, *, held: bool) -> bool:
        if not self._closed:
            self._items.append((item, held))
            self._held += held
            self._changed.notify_all()
        return not self._closed
