"""Log lines go to stderr, so that stdout stays for data. Set up by the command line, never at import."""

import logging


def set_up(verbose: bool) -> None:
    """Send `edgecell` log lines to stderr, one line each; `verbose` adds the debug ones."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("edgecell: %(levelname)s: %(message)s"))
    logger = logging.getLogger("edgecell")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
