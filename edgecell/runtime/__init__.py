"""The live loop. The only place with threads, queues, signals, retries and the watchdog.

    capture thread   seen   detect thread    found   classify thread  named   calling thread
    source.read ------[ ]--> gate, segment ---[ ]---> classify -------[ ]---> tally, journal, publish

Each thread opens its own parts, uses them and closes them: the source lives on the capture thread, the segmenter and its
engine on the detect thread, the classifiers' engines on the classify thread. Books, publisher, observer, watchdog and signals
stay with the calling thread, which must be the main one.

Frames keep their order. Mailboxes hold one frame each. Of files none is dropped: who has the next item while a mailbox is full
waits (`wait`), so what is counted does not depend on who is faster. A live source goes on whether or not anyone reads: there
the oldest frame in front of the detect thread gives way to the newest (`drop_oldest`), before any work was spent on it, and is
booked as dropped, with the stage that was behind.

A frame is captured when it has been read, and those that the source left out before it with it; until it is settled it is in
flight: in a mailbox or in work. An error that ends the run travels in the order of the frames: those before it are counted, its
own has failed, those behind it are given up (dropped). What is retried, and how: camera.py, mending.py, bus.py.

SIGINT and SIGTERM end the reading: the frames that were read are counted for DRAIN_S at most, those that are left then are
dropped, and the last counts are published: `stopped`.
"""

from edgecell.runtime.loop import Runtime
from edgecell.runtime.stage import Classifying, Detecting, Opener

__all__ = ["Classifying", "Detecting", "Opener", "Runtime"]
