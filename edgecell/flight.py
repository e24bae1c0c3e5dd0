"""Frames on their way: numbered, and not settled yet."""

from collections.abc import Iterable


class Flight:
    """Indices of frames, as spans: a source may leave out a million at once. Kept by one thread."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._spans = [(first, count) for first, count in spans if count > 0]

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """(first index, how many) each, lowest first, never side by side."""
        return tuple(self._spans)

    def add(self, first: int, count: int) -> None:
        """Frames behind all that are known."""
        if not count:
            return
        if self._spans and sum(self._spans[-1]) == first:
            first, before = self._spans.pop()
            count += before
        self._spans.append((first, count))

    def take(self, first: int, count: int = 1) -> None:
        """Settled. Raises ValueError where one of them is not on its way."""
        for place, (start, length) in enumerate(self._spans):
            if start <= first and first + count <= start + length:
                left, right = (start, first - start), (first + count, start + length - first - count)
                self._spans[place : place + 1] = [span for span in (left, right) if span[1]]
                return
        raise ValueError(f"frames {first} to {first + count - 1} are not on their way")
