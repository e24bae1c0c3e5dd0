"""A USB camera made of software, so that the kernel's own driver for USB cameras (uvcvideo) has one to read.

It answers the kernel's USB/IP host (vhci_hcd) over a socket, URB by URB (kernel documentation, usbip_protocol.rst). Its
descriptors and requests are those of the USB device class for video, 1.1: one camera with MJPG and YUYV over a bulk endpoint,
exposure, gain and white balance. Pictures are those of v4l2_stand_in.
"""

import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from v4l2_stand_in import picture

HOST: Final = Path("/sys/devices/platform/vhci_hcd.0")
PORT, DEVICE_ID, HIGH_SPEED = 0, 0x10002, 3
SUBMIT, UNLINK, SUBMITTED, UNLINKED = 1, 2, 3, 4
STALL, TAKEN_BACK = -32, -104
HEADER, SUBMISSION, ANSWER = struct.Struct(">IIIII"), struct.Struct(">IiiiI8s"), struct.Struct(">iiiii8x")
URB_BYTES: Final = 16384
"""The largest payload that uvcvideo takes in one URB of a bulk endpoint of 512 bytes."""
SIZES: Final = ((640, 480), (320, 240))
RATES_100NS: Final = (333_333, 1_000_000)
YUY2: Final = b"YUY2\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
FORMATS: Final = ("MJPG", "YUYV")
TERMINAL, UNIT = 1, 2
CONTROLS: Final = {
    (TERMINAL, 2): ("B", 1, 8, 1 | 8, 8),
    (TERMINAL, 4): ("I", 1, 5000, 1, 156),
    (UNIT, 4): ("H", 0, 100, 1, 4),
    (UNIT, 10): ("H", 2800, 6500, 10, 4600),
    (UNIT, 11): ("B", 0, 1, 1, 1),
}
"""(entity, selector): size, smallest, largest, step (of a mode: those that it has), first value. Exposure mode and time, gain,
white balance and its automatic."""
SET_CUR, GET_CUR, GET_MIN, GET_MAX, GET_RES, GET_LEN, GET_INFO, GET_DEF = 0x01, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87


def _one(kind: int, *fields: bytes) -> bytes:
    """A descriptor: its length, its kind, its fields."""
    body = b"".join(fields)
    return bytes((len(body) + 2, kind)) + body


def _frames(kind: int) -> bytes:
    """Descriptors of the sizes of a format."""
    made = b""
    for number, (width, height) in enumerate(SIZES, 1):
        bits = width * height * 16 * 30
        rates = struct.pack(f"<IB{len(RATES_100NS)}I", RATES_100NS[0], len(RATES_100NS), *RATES_100NS)
        made += _one(0x24, struct.pack("<BBBHHIII", kind, number, 0, width, height, bits, bits, width * height * 2), rates)
    return made


def _configuration() -> bytes:
    terminal = _one(0x24, struct.pack("<BBHBBHHHB", 2, TERMINAL, 0x0201, 0, 0, 0, 0, 0, 3), b"\x0a\0\0")
    unit = _one(0x24, struct.pack("<BBBHB", 5, UNIT, TERMINAL, 0, 2), b"\x40\x12", b"\0\0")
    output = _one(0x24, struct.pack("<BBHBBB", 3, 3, 0x0101, 0, UNIT, 0))
    whole = 13 + len(terminal + unit + output)
    control = _one(0x24, struct.pack("<BHHIBB", 1, 0x0110, whole, 48_000_000, 1, 1)) + terminal + unit + output
    jpeg = _one(0x24, struct.pack("<BBBBBBBBB", 6, 1, len(SIZES), 1, 1, 0, 0, 0, 0)) + _frames(7)
    plain = _one(0x24, struct.pack("<BBB", 4, 2, len(SIZES)), YUY2, struct.pack("<BBBBBB", 16, 1, 0, 0, 0, 0)) + _frames(5)
    length = 13 + 2 + len(jpeg + plain)
    stream = _one(0x24, struct.pack("<BBHBBBBBBB", 1, 2, length, 0x81, 0, 3, 0, 0, 0, 1), b"\0\0") + jpeg + plain
    body = _one(0x0B, bytes((0, 2, 0x0E, 3, 0, 0))) + _one(4, bytes((0, 0, 0, 0x0E, 1, 0, 0))) + control
    body += _one(4, bytes((1, 0, 1, 0x0E, 2, 0, 0))) + stream + _one(5, struct.pack("<BBHB", 0x81, 2, 512, 0))
    return _one(2, struct.pack("<HBBBBB", len(body) + 9, 2, 1, 0, 0x80, 250)) + body


DEVICE: Final = _one(1, struct.pack("<HBBBBHHHBBBB", 0x0200, 0xEF, 2, 1, 64, 0x1D6B, 0x0102, 0x0100, 1, 2, 3, 1))
CONFIGURATION: Final = _configuration()
STRINGS: Final = ("", "edgecell tests", "Software camera", "0001")


class UsbCamera:
    """A cable to pull: plug, unplug.

    cut: numbers of pictures that end too early. flagged: of those that the camera itself calls damaged. seen: control -> value.
    """

    def __init__(self) -> None:
        self.cut: Sequence[int] = ()
        self.flagged: Sequence[int] = ()
        self.values = {key: control[4] for key, control in CONTROLS.items()}
        self.number = 0
        self._socket: socket.socket | None = None
        self._serving: threading.Thread | None = None

    def plug(self) -> None:
        ours, kernels = socket.socketpair()
        self._socket = ours
        self._serving = threading.Thread(target=_Line(self, ours).serve, daemon=True)
        self._serving.start()
        (HOST / "attach").write_text(f"{PORT} {kernels.fileno()} {DEVICE_ID} {HIGH_SPEED}")
        kernels.close()

    def unplug(self) -> None:
        if self._socket is not None and self._serving is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._serving.join()
            self._socket.close()
        self._socket = None


class _Line:
    """A plugged camera: one connection with the kernel, until its end."""

    def __init__(self, camera: UsbCamera, line: socket.socket) -> None:
        self._camera, self._socket = camera, line
        self._waiting: deque[tuple[int, int]] = deque()
        self._chunks: deque[bytes] = deque()
        self._setting = struct.pack("<HBBI5HIIIBBBB", 1, 1, 1, RATES_100NS[0], *[0] * 5, 0, URB_BYTES, 48_000_000, 0, 0, 0, 0)
        self._due_s = 0.0
        self._toggle = 0

    def serve(self) -> None:
        with suppress(BrokenPipeError):  # unplugged in the middle of an answer
            while self._serve_once():
                pass

    def _serve_once(self) -> bool:
        """Whether the line still holds."""
        left_s = max(0.0, self._due_s - time.monotonic()) if self._waiting else None
        if not select.select([self._socket], [], [], left_s)[0]:
            self._give()
            return True
        header = self._received(48)
        if len(header) == 48:
            self._heard(header)
        return len(header) == 48

    def _received(self, length: int) -> bytes:
        """Less at the end of the line."""
        data = b""
        while len(data) < length and (more := self._socket.recv(length - len(data))):
            data += more
        return data

    def _heard(self, header: bytes) -> None:
        command, number, _, inwards, endpoint = HEADER.unpack_from(header)
        if command == UNLINK:
            (unwanted,) = struct.unpack_from(">I", header, HEADER.size)
            waiting = [each for each in self._waiting if each[0] != unwanted]
            status = TAKEN_BACK if len(waiting) < len(self._waiting) else 0
            self._waiting = deque(waiting)
            self._socket.sendall(HEADER.pack(UNLINKED, number, 0, 0, 0) + struct.pack(">i24x", status))
            return
        _, length, _, _, _, setup = SUBMISSION.unpack_from(header, HEADER.size)
        if endpoint:
            self._waiting.append((number, length))
            return
        given = b"" if inwards else self._received(length)
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        answer = self._answer(kind, request, value, index, given)
        self._send(number, (answer or b"")[:length], STALL if answer is None else 0, sent=0 if inwards else length)

    def _send(self, number: int, data: bytes, status: int, sent: int = 0) -> None:
        self._socket.sendall(HEADER.pack(SUBMITTED, number, 0, 0, 0) + ANSWER.pack(status, len(data) or sent, 0, 0, 0) + data)

    def _answer(self, kind: int, request: int, value: int, index: int, given: bytes) -> bytes | None:
        """To a request on endpoint 0; None is none of ours."""
        if kind & 0x60 == 0:
            return self._standard(request, value)
        entity, selector = index >> 8, value >> 8
        if entity:
            return self._control((entity, selector), request, given)
        if index & 0xFF != 1 or selector not in (1, 2):
            return None
        if request == SET_CUR:
            self._agree(given)
            return b""
        return {GET_LEN: struct.pack("<H", len(self._setting)), GET_INFO: b"\3"}.get(request, self._setting)

    def _standard(self, request: int, value: int) -> bytes | None:
        if request != 6:
            return b"\0\0" if request == 0 else b""
        if value >> 8 == 3:
            text = STRINGS[value & 0xFF].encode("utf-16-le") if value & 0xFF else b"\x09\x04"
            return _one(3, text)
        return {1: DEVICE, 2: CONFIGURATION}.get(value >> 8)

    def _control(self, key: tuple[int, int], request: int, given: bytes) -> bytes | None:
        if key not in CONTROLS:
            return None
        size, smallest, largest, step, first = CONTROLS[key]
        values = self._camera.values
        if request == SET_CUR:
            (values[key],) = struct.unpack(f"<{size}", given)
            return b""
        if request in (GET_LEN, GET_INFO):
            return struct.pack("<H", struct.calcsize(size)) if request == GET_LEN else b"\3"
        told: Mapping[int, int] = {
            GET_CUR: values[key],
            GET_MIN: smallest,
            GET_MAX: largest,
            GET_RES: step,
            GET_DEF: first,
        }
        return struct.pack(f"<{size}", told[request])

    def _agree(self, given: bytes) -> None:
        """On what the host proposes; how long a picture and a payload are is the camera's to say."""
        _, form, size, interval = struct.unpack_from("<HBBI", given)
        width, height = SIZES[size - 1]
        head = struct.pack("<HBBI5HII", 1, form, size, interval, *[0] * 5, width * height * 2, URB_BYTES)
        self._setting = head + self._setting[len(head) :]
        self._chunks.clear()

    def _give(self) -> None:
        """The next piece of a picture to the URB that waited longest."""
        if not self._chunks:
            self._begin()
        number, _ = self._waiting.popleft()
        self._send(number, self._chunks.popleft(), 0)
        if not self._chunks:
            interval_s = struct.unpack_from("<I", self._setting, 4)[0] / 1e7
            self._due_s = max(self._due_s + interval_s, time.monotonic())

    def _begin(self) -> None:
        """Cut the next picture to payloads, each with a header; the last one says that it ends the picture."""
        camera = self._camera
        number, camera.number = camera.number, camera.number + 1
        _, form, size = struct.unpack_from("<HBB", self._setting)
        data = _sent(FORMATS[form - 1], number, *SIZES[size - 1])
        data = data[: len(data) // 2] if number in camera.cut else data
        flags = 0x80 | self._toggle | (0x40 if number in camera.flagged else 0)
        self._toggle ^= 1
        room = URB_BYTES - 2
        pieces = [data[start : start + room] for start in range(0, len(data), room)]
        self._chunks.extend(bytes((2, flags | (2 if each is pieces[-1] else 0))) + each for each in pieces)


def _sent(fourcc: str, number: int, width: int, height: int) -> bytes:
    image = picture(number % 25, width, height)
    if fourcc == "MJPG":
        return bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 95))[1])
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_YUY2)).tobytes()
