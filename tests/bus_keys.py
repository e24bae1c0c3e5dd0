"""Keys of an encrypted bus, for tests: a device's, its allow-list, and those of some listeners."""

import shutil
from pathlib import Path

from edgecell.bus import curve


class Keys:
    """device: its private key's file, device_public the other. allow: the folder of those who may listen."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.allow = folder, folder / "allowed"
        self.allow.mkdir(mode=0o700, parents=True)
        self.device, self.device_public = curve.new_keys("device", folder)

    def listener(self, name: str, *, allowed: bool = True) -> Path:
        """A listener's private key."""
        private, public = curve.new_keys(name, self._folder / "listeners")
        if allowed:
            shutil.copy(public, self.allow)
        return private
