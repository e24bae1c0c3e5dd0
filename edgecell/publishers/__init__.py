"""Where messages go. A new publisher is one module and one line in TABLE."""

TABLE = {"zmq": "edgecell.publishers.zmq:ZmqPublisher"}
