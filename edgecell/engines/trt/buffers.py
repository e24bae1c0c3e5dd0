"""Memory that batches travel through: page-locked on the host, and the same on the device, kept from batch to batch."""

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from edgecell.engines.trt.cuda import Bytes, Cuda
from edgecell.engines.trt.network import FLOAT_BYTES, Shape


class Scratch:
    """Device memory that grows: address and size in bytes, 0 and 0 at first."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.address = self.size = 0

    def grow(self, size: int) -> None:
        """Have at least `size` bytes; nothing that uses the old ones may be under way. Raises InferenceError, and has none."""
        self.close()
        self.address = self._cuda.allocate(size)
        self.size = size

    def close(self) -> None:
        address, self.address, self.size = self.address, 0, 0
        if address:
            self._cuda.free(address)


class Buffers:
    """Host and device memory for the tensors of one batch, by name, each as large as the largest that was asked for."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._owned = ExitStack()
        self._host: dict[str, Bytes] = {}
        self.addresses: dict[str, int] = {}
        """On the device, by name: what TensorRT is told."""

    def holds(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether float32 tensors of these shapes fit in."""
        return all(name in self._host and _bytes(shape) <= self._host[name].nbytes for name, shape in shapes.items())

    def grow(self, shapes: Mapping[str, Shape]) -> None:
        """Have room for tensors of these shapes; nothing may be under way. Raises InferenceError, and has none at all."""
        wanted = {
            name: max(_bytes(shape), self._host[name].nbytes if name in self._host else 0) for name, shape in shapes.items()
        }
        self.close()
        try:
            for name, size in wanted.items():
                host = self._cuda.pinned(size)
                self._owned.callback(self._cuda.free_pinned, host)
                address = self._cuda.allocate(size)
                self._owned.callback(self._cuda.free, address)
                self._host[name], self.addresses[name] = host, address
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free all. May be called again."""
        self._host.clear()
        self.addresses.clear()
        self._owned.close()

    def view(self, name: str, shape: Shape) -> NDArray[np.float32]:
        """The host's side of a tensor, in place: float32 of this shape."""
        return self._host[name][: _bytes(shape)].view(np.float32).reshape(shape)

    def send(self, name: str, shape: Shape, stream: int) -> None:
        """Put the copy of a tensor to the device into the stream."""
        self._cuda.to_device(self.addresses[name], self._host[name][: _bytes(shape)], stream)

    def fetch(self, name: str, shape: Shape, stream: int) -> None:
        """Put the copy of a tensor from the device into the stream."""
        self._cuda.to_host(self._host[name][: _bytes(shape)], self.addresses[name], stream)


def _bytes(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64)) * FLOAT_BYTES
