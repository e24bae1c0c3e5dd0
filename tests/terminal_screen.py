"""A terminal of so many columns and rows, with a program in it: what a person in front of it would read.

It knows what full-screen programs send at least: cursor positions, clearing, the second screen, the cursor's visibility.
Whether there were colours can be asked; anything else is an error.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

PATIENCE_S = 60.0
SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


class Terminal:
    """screens: lines of the first and the second one. colours: whether any colour was asked for."""

    def __init__(self, master: int, process: "subprocess.Popen[bytes]", columns: int, rows: int) -> None:
        self._master, self.process = master, process
        self._raw = b""
        self.second = self.colours = False
        self.cursor = True
        self._at = 0, 0
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Another size; both screens are blank until something is drawn."""
        self.columns, self.rows = columns, rows
        self._screens = [[[" "] * columns for _ in range(rows)] for _ in range(2)]
        self._at = min(self._at[0], rows - 1), min(self._at[1], columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        """The screen that is shown, without the blanks at the ends."""
        return ["".join(line).rstrip() for line in self._screens[self.second]]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, seen: Callable[[str], bool]) -> None:
        """Read on until the screen satisfies that."""
        deadline = time.monotonic() + PATIENCE_S
        while not seen(self.text):
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s; the screen is:\n{self.text}"
            assert self._read(0.1), f"the program has ended with {self.process.wait()}; the screen is:\n{self.text}"

    def to_the_end(self) -> int:
        """Read until the program has ended: its exit code."""
        while self._read(PATIENCE_S):
            pass
        return self.process.wait(PATIENCE_S)

    def _read(self, patience_s: float) -> bool:
        """Show what comes. False once nobody holds the other side any more."""
        if not select.select([self._master], [], [], patience_s)[0]:
            return True
        try:
            self._raw += os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the other side is closed
            return False
        self._draw()
        return True

    def _draw(self) -> None:
        try:
            text, self._raw = self._raw.decode(), b""
        except UnicodeDecodeError as cut:  # in the middle of a character
            text, self._raw = self._raw[: cut.start].decode(), self._raw[cut.start :]
        place = 0
        while place < len(text):
            if text[place] != "\x1b":
                self._put(text[place])
                place += 1
            elif found := SEQUENCE.match(text, place):
                self._obey(found[1], found[2])
                place = found.end()
            else:  # the rest of it is still to come
                self._raw = text[place:].encode() + self._raw
                return

    def _put(self, character: str) -> None:
        row, column = self._at
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
        else:
            if column == self.columns:
                row, column = row + 1, 0
            self._scroll(row)
            row = min(row, self.rows - 1)
            self._screens[self.second][row][column] = character
            column += 1
        self._scroll(row)
        self._at = min(row, self.rows - 1), column

    def _scroll(self, row: int) -> None:
        if row == self.rows:
            screen = self._screens[self.second]
            screen[:] = [*screen[1:], [" "] * self.columns]

    def _obey(self, what: str, how: str) -> None:
        numbers = [int(each) for each in re.findall(r"\d+", what)]
        if how == "m":
            self.colours |= any(number >= 30 for number in numbers)
        elif how == "H":
            row, column = numbers or (1, 1)
            self._at = min(row, self.rows) - 1, min(column, self.columns) - 1
        elif how == "J":
            self._screens[self.second] = [[" "] * self.columns for _ in range(self.rows)]
        elif (what, how) in (("?1049", "h"), ("?1049", "l")):
            self.second, self._at = how == "h", (0, 0)
        elif (what, how) in (("?25", "h"), ("?25", "l")):
            self.cursor = how == "h"
        else:
            raise AssertionError(f"this terminal does not know ESC[{what}{how}")


@contextmanager
def terminal(line: Sequence[str], columns: int, rows: int, **environment: str) -> Iterator[Terminal]:
    """The program runs in it; killed at the latest when left. environment: what differs from that of the tests."""
    kept: Mapping[str, str] = {
        key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    }
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    whole = {**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
    process = subprocess.Popen(line, stdin=slave, stdout=slave, stderr=slave, env=whole, start_new_session=True)
    os.close(slave)
    try:
        yield Terminal(master, process, columns, rows)
    finally:
        process.kill()
        process.wait()
        os.close(master)
