"""A thread that is left behind in a driver's call does not turn an orderly end into a crash."""

from pathlib import Path

from command_line import finished

PRELUDE = """
import sys, threading
from edgecell.runtime.stage import NAME, left_behind
import cv2, numpy as np

def foreign() -> None:
    picture = np.zeros((3000, 3000, 3), np.uint8)
    while True:
        cv2.GaussianBlur(picture, (0, 0), 9)

threading.Thread(target=foreign, name=NAME + "test", daemon=True).start()
from edgecell.__main__ import program
program()
"""


def test_a_thread_in_foreign_code_is_no_crash(tmp_path: Path) -> None:
    for _ in range(5):
        ended = finished("schemas", "--help", folder=tmp_path, prelude=PRELUDE)
        assert (ended.code, ended.err) == (0, "")
        assert "Usage: edgecell schemas" in ended.out
