"""picamera2: how it is loaded, as much of it as is used, and what it says when it refuses."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import MissingDependency

RGB_IN_MEMORY = "BGR888"
INSTALL = "sudo apt install python3-picamera2, and make the environment by: python3 -m venv --system-site-packages"
LIST = "rpicam-hello --list-cameras"
REFUSED = (RuntimeError, OSError, ValueError)
"""What picamera2 and libcamera's binding raise for a camera or a configuration that they do not have."""


class Request(Protocol):
    """As much of picamera2.request.CompletedRequest as is used here."""

    def make_array(self, name: str) -> NDArray[np.uint8]: ...

    def get_metadata(self) -> Mapping[str, Any]: ...

    def release(self) -> None: ...


class Camera(Protocol):
    """As much of picamera2.Picamera2 as is used here. What capture_request returns, picamera2.job.Job, is only handed back."""

    @property
    def camera_controls(self) -> Mapping[str, Any]: ...

    @property
    def camera_properties(self) -> Mapping[str, Any]: ...

    def create_video_configuration(
        self,
        main: Mapping[str, Any],
        *,
        buffer_count: int,
        controls: Mapping[str, Any],
        display: None,
        encode: None,
        queue: bool,
    ) -> dict[str, Any]: ...

    def configure(self, camera_config: dict[str, Any]) -> None: ...

    def stream_configuration(self, name: str) -> Mapping[str, Any]: ...

    def start(self) -> None: ...

    def capture_request(self, wait: bool) -> Any: ...

    def wait(self, job: Any, timeout: float) -> Request: ...

    def cancel_all_and_flush(self) -> None: ...

    def close(self) -> None: ...


def library() -> Any:
    """picamera2, without types of its own. Raises MissingDependency; libcamera's binding may be what is missing."""
    try:
        import picamera2
    except ImportError as error:
        raise MissingDependency(f"picamera2 cannot be imported ({error})", fix=INSTALL) from error
    return picamera2


def version() -> str:
    try:
        return f"picamera2 {importlib.metadata.version('picamera2')}"
    except importlib.metadata.PackageNotFoundError:
        return "picamera2"


def why(error: BaseException) -> str:
    """What went wrong first: picamera2 wraps libcamera's errors in its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
