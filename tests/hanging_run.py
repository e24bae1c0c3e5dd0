"""A run whose segmenter never comes back from its third frame: `python hanging_run.py ENDPOINT`. The rest is as shipped."""

import sys
import threading

from run_tools import classifying, detecting
from still_run import Clock, Finder, Onlooker

from edgecell.ledger import Identity
from edgecell.messages import Frame, Segmentation
from edgecell.publishers.zmq import ZmqOptions, ZmqPublisher
from edgecell.runtime import Runtime
from edgecell.settings import RunSettings
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options


class Hanging(Finder):
    def segment(self, frame: Frame) -> Segmentation:
        if frame.index == 2:
            threading.Event().wait()
        return super().segment(frame)


def main(endpoint: str) -> None:
    with ZmqPublisher(ZmqOptions(endpoint=endpoint)) as publisher:
        Runtime(
            identity=Identity(device_id="d", run_id="r", sample_id="s"),
            settings=RunSettings(heartbeat_s=0.1, window_s=0.1),
            source=PhantomSource(Options(width=320, height=240, fps=20)),
            detecting=detecting(Hanging(Clock(), 0)),
            classifying=classifying({}),
            classes={},
            publisher=publisher,
            observer=Onlooker(),
        ).run()


if __name__ == "__main__":
    main(sys.argv[1])
