"""Listeners of a bus, many in one process: those that read, and those that do not. `benchmarks.bus` starts it.

    python -m benchmarks.listeners ENDPOINT READING STALLED [SERVER_KEY PUBLIC SECRET]

Says `ready` once all have joined, and, when its stdin ends, how many counts each reading one heard (median) and how many were
in the queues of those that did not read.
"""

import statistics
import sys

import zmq

COUNTS = b"counts/1"


def main(endpoint: str, reading: str, stalled: str, *keys: str) -> None:
    context = zmq.Context()
    readers = [_joined(context, endpoint, (COUNTS, b"heartbeat/1"), keys) for _ in range(int(reading))]
    sleepers = [_joined(context, endpoint, (b"",), keys, small=True) for _ in range(int(stalled))]
    for each in (*readers, *sleepers):
        each.recv_multipart()
    print("ready", flush=True)
    heard = _read(readers)
    print(f"heard {round(statistics.median(heard))} {_left(sleepers)}")
    context.destroy(linger=0)


def _joined(
    context: "zmq.Context[zmq.Socket[bytes]]",
    endpoint: str,
    topics: tuple[bytes, ...],
    keys: tuple[str, ...],
    *,
    small: bool = False,
) -> "zmq.Socket[bytes]":
    listener = context.socket(zmq.SUB)
    if keys:
        listener.curve_serverkey, listener.curve_publickey, listener.curve_secretkey = (key.encode() for key in keys)
    if small:
        listener.setsockopt(zmq.RCVHWM, 1)
        listener.setsockopt(zmq.RCVBUF, 4096)
    for topic in topics:
        listener.setsockopt(zmq.SUBSCRIBE, topic)
    listener.connect(endpoint)
    return listener


def _read(readers: "list[zmq.Socket[bytes]]") -> list[int]:
    """Until stdin ends. Counts messages that each heard."""
    heard = dict.fromkeys(readers, 0)
    poller = zmq.Poller()
    poller.register(sys.stdin, zmq.POLLIN)
    for each in readers:
        poller.register(each, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        for each in readers:
            if each in ready:
                heard[each] += each.recv_multipart()[0] == COUNTS
        if sys.stdin.fileno() in ready and len(ready) == 1:
            return list(heard.values())


def _left(sleepers: "list[zmq.Socket[bytes]]") -> int:
    """Counts in their queues."""
    found = 0
    for each in sleepers:
        while each.poll(200):
            found += each.recv_multipart()[0] == COUNTS
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
