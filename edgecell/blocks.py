"""The numbers that GigE and USB3 cameras give their frames."""

LAST_SHORT_BLOCK = 65535
"""GigE cameras without extended ids count from 1 to this and on from 1."""


def blocks_on(before: int | None, now: int | None) -> int:
    """How many numbers on a frame is from the one before: 1 if none was lost, or if that is not known."""
    if before is None or now is None:
        return 1
    step = now - before
    if step < 0 and before <= LAST_SHORT_BLOCK:
        step += LAST_SHORT_BLOCK
    return max(1, step)
