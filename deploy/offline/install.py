"""Installs edgecell from the folder that this file lies in, without a network; changes versions, and goes back to one.

    python3 install.py                                     from a pack: install it, or upgrade to it
    python3 /opt/edgecell/install.py list                  the versions that are installed
    python3 /opt/edgecell/install.py roll-back             to the version that was used before
    python3 /opt/edgecell/install.py use NAME              to this one
    python3 /opt/edgecell/install.py remove NAME

Only Python's standard library, 3.10 or newer, and no pip, is needed on the device. What it makes:

    /opt/edgecell/
        versions/0.2.0-1f0c2a9b/     a virtual environment of its own, bundles/, and a copy of this file
        current -> versions/0.2.0-1f0c2a9b
        previous -> versions/0.1.0-77ab03d1
        bin -> current/bin           what the service runs; bundles and install.py are such links too

A version is built beside the others and looked at before `current` is pointed at it, in one step that a power cut leaves done
or not done. Settings, keys and journal lie elsewhere and are never written. Exit code 0: done; 1: refused, and all as before.
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

ROOT, SETTINGS, USER = Path("/opt/edgecell"), Path("/etc/edgecell/edgecell.toml"), "edgecell"
SUMS, ABOUT, REQUIREMENTS, INSTALLER = "SHA256SUMS", "pack.json", "requirements.txt", "install.py"
DONE = "installed.json"
"""Written last: a version without it was cut short."""
THROUGH = ("bin", "bundles", INSTALLER)
"""Names in the root that lead to the same name in the current version."""
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


class Refused(Exception):
    """Nothing was changed. `what` is in the way, and its `fix`."""

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(f"{what}. Fix: {fix}")


def checked(pack: Path) -> str:
    """The sha256 of the list of checksums, once every file of the pack was found to be as it says, and no other one there.

    It shows what was cut short, mixed up or went bad on its way, and not a pack that somebody made anew. Raises Refused.
    """
    try:
        raw = (pack / SUMS).read_bytes()
    except OSError as error:
        raise Refused(f"{pack} is no pack: {SUMS}: {error.strerror}", fix="run the install.py that lies in a pack") from None
    listed = dict(_listed(raw.decode(errors="replace")))
    there = {path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_symlink() or not path.is_dir()}
    again = "copy the whole pack again, or make it again"
    for name in sorted(there - {SUMS, *listed}):
        raise Refused(f"{pack / name} is not part of the pack", fix=f"remove it, or {again}")
    for name, sha256 in listed.items():
        if name not in there or (pack / name).is_symlink():
            raise Refused(f"{pack / name} is missing", fix=again)
        if digest(pack / name) != sha256:
            raise Refused(f"{pack / name} is not what was packed: its sha256 is another one", fix=again)
    return hashlib.sha256(raw).hexdigest()


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            whole.update(piece)
    return whole.hexdigest()


def _listed(text: str) -> Iterator[tuple[str, str]]:
    """(name, sha256) of each line, as sha256sum writes them."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or PurePosixPath(match[2]).is_absolute() or ".." in PurePosixPath(match[2]).parts:
            raise Refused(f"{SUMS}: {line[:80]!r} is no checksum of a file of the pack", fix="make the pack again")
        yield match[2], match[1]


class Installation:
    """A root folder with versions. settings: the file that each must be able to run with, None where there is none yet.

    user: name of who runs edgecell, and so looks at the settings; None for whoever runs this.
    """

    def __init__(self, root: Path, settings: Path | None, user: str | None) -> None:
        self.root, self.settings, self.user = root.absolute(), settings, user

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes the installation meanwhile. Raises Refused."""
        for name in THROUGH:
            if (self.root / name).exists() and not (self.root / name).is_symlink():
                raise Refused(f"{self.root} was not made by this program", fix="move it away, or give another --root")
        try:
            (self.root / "versions").mkdir(parents=True, exist_ok=True)
            with (self.root / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError:
            raise Refused(f"another install.py is at work in {self.root}", fix="wait until it is done") from None
        except PermissionError as error:
            raise Refused(f"{error.filename} cannot be written", fix="run it as root, or give another --root") from None

    def linked(self, link: str) -> str | None:
        """Name of the version that `current` or `previous` leads to."""
        path = self.root / link
        return path.readlink().name if path.is_symlink() and (path / DONE).is_file() else None

    def names(self) -> list[str]:
        """The versions that are whole, in the order in which they were installed."""
        whole = sorted(self.root.glob(f"versions/*/{DONE}"), key=lambda path: path.stat().st_mtime_ns)
        return [path.parent.name for path in whole]

    def install(self, pack: Path, *, system_site_packages: bool) -> str:
        """Build a version from a pack that was checked, and look at it; its name. Not used yet. Raises Refused."""
        sha256 = checked(pack)
        about: dict[str, Any] = json.loads((pack / ABOUT).read_text(encoding="utf-8"))
        _fits(about)
        name = f"{about['version']}-{sha256[:8]}"
        folder = self.root / "versions" / name
        if not (folder / DONE).is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of an installation that was cut short
            try:
                self._build(folder, pack, about, system_site_packages)
                self._examine(folder)
                _finish(folder, {**about, "pack": sha256})
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return name

    def use(self, name: str, unit: str | None) -> None:
        """Point `current` at a version that can run with the settings and the journal as they are, and start `unit` anew.

        Where the unit does not start, the version before is put back and started. Raises Refused.
        """
        if name not in self.names():
            raise Refused(f"there is no version {name}", fix=f"one of: {', '.join(self.names()) or 'none is installed'}")
        self._check(self.root / "versions" / name)
        before = {link: self.linked(link) for link in ("previous", "current")}
        if before["current"] != name:
            self._point({"previous": before["current"], "current": name})
        if unit is not None and _systemctl("restart", unit) != 0:
            if before["current"] not in (None, name):
                self._point(before)
                _systemctl("restart", unit)
            raise Refused(f"{unit} does not start with {name}; in use is {self.linked('current')}", fix=f"journalctl -u {unit}")

    def remove(self, name: str) -> None:
        """Delete a version that is not in use. Raises Refused."""
        if name not in self.names() or name == self.linked("current"):
            raise Refused(f"{name} cannot be removed: in use, or not there", fix="use another one first, see: install.py list")
        (self.root / "versions" / name / DONE).unlink()
        shutil.rmtree(self.root / "versions" / name)

    def _build(self, folder: Path, pack: Path, about: Mapping[str, Any], system_site_packages: bool) -> None:
        """A virtual environment with the pack's wheels, each with the hash that it had when it was packed."""
        venv.create(folder, system_site_packages=system_site_packages, symlinks=True)
        pip = [str(folder / "bin/python"), str(pack / about["pip"] / "pip"), "install", "--quiet", "--no-deps", "--no-index"]
        pip += ["--find-links", str(pack / "wheels"), "--only-binary", ":all:", "--require-hashes", "--ignore-installed"]
        _called([*pip, "--no-cache-dir", "-r", str(pack / REQUIREMENTS)], "its wheels cannot be installed", None)
        (folder / "bundles").mkdir()
        if (pack / "bundles").is_dir():
            shutil.copytree(pack / "bundles", folder / "bundles", dirs_exist_ok=True)
        for path in (folder / "bundles", *folder.glob("bundles/**/*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the medium says: the service reads them as another user
        shutil.copyfile(pack / INSTALLER, folder / INSTALLER)

    def _examine(self, folder: Path) -> None:
        """Every library loads and every bundle that ships is whole."""
        _called([str(folder / "bin/edgecell"), "doctor", "--json"], f"{folder.name} does not work here", self.user)

    def _check(self, folder: Path) -> None:
        """The version can run with the settings as they are, and with the journal that they name."""
        if self.settings is not None:
            command = [str(folder / "bin/edgecell"), "check", str(self.settings)]
            for line in _called(command, f"{folder.name} cannot run with {self.settings}", self.user).splitlines():
                print(f"  {line}")

    def _point(self, links: Mapping[str, str | None]) -> None:
        """Each link to its version, in order; what leads through `current` first, where it is not there yet."""
        for name in THROUGH:
            if not (self.root / name).is_symlink():
                _link(self.root / name, f"current/{name}")
        for link, version in links.items():
            if version is None:
                (self.root / link).unlink(missing_ok=True)
            else:
                _link(self.root / link, f"versions/{version}")


def _finish(folder: Path, about: Mapping[str, Any]) -> None:
    """Say that a version is whole, once all of it is on the disk."""
    os.sync()
    with (folder / DONE).open("w", encoding="utf-8") as file:
        file.write(json.dumps(about) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _link(link: Path, target: str) -> None:
    """A symbolic link in place of what was there: before or after, and at no moment neither. It survives a power cut."""
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)
    descriptor = os.open(link.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fits(about: Mapping[str, Any]) -> None:
    """The pack was made for this machine and this Python. Raises Refused."""
    library = os.confstr("CS_GNU_LIBC_VERSION") or "another C library"
    here = f"{platform.machine()}, Python {sys.version_info.major}.{sys.version_info.minor}"
    there = f"{about['machine']}, Python {about['python']}"
    if here != there:
        fix = f"run it with python{about['python']}, or make a pack for {here}"
        raise Refused(f"the pack is for {there}, and this is {here}", fix=fix)
    match = re.fullmatch(r"glibc 2\.(\d+).*", library)
    if match is None or int(match[1]) < about["glibc"]:
        raise Refused(f"the pack needs glibc 2.{about['glibc']} or newer; this is {library}", fix="pack with an older --glibc")


def _called(command: Sequence[str], failed: str, user: str | None) -> str:
    """What a program wrote to stdout and stderr, run as `user`. Raises Refused with its last line where it fails."""
    who = pwd.getpwnam(user) if user else None
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}
    identity: dict[str, Any] = {}
    if who is not None:
        groups = os.getgrouplist(who.pw_name, who.pw_gid)
        identity = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": groups, "cwd": "/"}
        kept["HOME"] = who.pw_dir
    environment = {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **identity,
    )
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Refused(f"{failed}: {last}", fix="mend that and try again; the version in use is as it was")
    return done.stdout


def _systemctl(*arguments: str) -> int:
    return subprocess.run(["systemctl", *arguments], check=False).returncode


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    here = Path(__file__).resolve().parent
    installed = here.parent.name == "versions"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = ["install", "list", "use", "roll-back", "remove"]
    parser.add_argument("command", nargs="?", choices=commands, default="list" if installed else "install")
    parser.add_argument("name", nargs="?", help="of a version, for use and remove")
    parser.add_argument("--root", type=Path, default=here.parents[1] if installed else ROOT, help="default: %(default)s")
    parser.add_argument("--settings", type=Path, help=f"what a version must be able to run with (default: {SETTINGS}, if any)")
    parser.add_argument("--user", help=f"who runs edgecell (default: {USER}, where root installs and there is such a user)")
    parser.add_argument(
        "--restart", metavar="UNIT", help="start this systemd unit anew; where it fails, with the version before"
    )
    parser.add_argument(
        "--system-site-packages", action="store_true", help="install: see the system's picamera2, GStreamer, TensorRT too"
    )
    given = parser.parse_args(words)
    if (given.name is None) == (given.command in ("use", "remove")):
        parser.error(f"{given.command}: {'give the NAME of a version' if given.name is None else 'it takes no NAME'}")
    return given


def _installation(given: argparse.Namespace) -> Installation:
    """Raises Refused for settings or a user that were named and are not there."""
    settings: Path | None = given.settings
    if settings is not None and not settings.is_file():
        raise Refused(f"there is no {settings}", fix="correct --settings")
    if settings is None and SETTINGS.is_file():
        settings = SETTINGS
    users = {each.pw_name for each in pwd.getpwall()}
    if given.user is not None and given.user not in users:
        raise Refused(f"there is no user {given.user}", fix="correct --user, or make one: systemd-sysusers")
    user = given.user or (USER if USER in users and os.geteuid() == 0 else None)
    return Installation(given.root, settings.absolute() if settings else None, user)


def _do(given: argparse.Namespace) -> None:
    installation = _installation(given)
    if given.command == "list":
        _list(installation)
        return
    with installation.alone():
        if given.command == "remove":
            installation.remove(given.name)
            return
        name = given.name
        if given.command == "install":
            name = installation.install(Path(__file__).resolve().parent, system_site_packages=given.system_site_packages)
        elif given.command == "roll-back":
            name = installation.linked("previous")
        if name is None:
            raise Refused("no version was used before this one", fix="see: install.py list, and: install.py use NAME")
        if installation.settings is None:
            print(f"no settings at {SETTINGS}: neither they nor a journal were looked at (--settings FILE)")
        installation.use(name, given.restart)
    _list(installation)
    if given.restart is None:
        print("what runs goes on with the version that it was started with; then: systemctl restart edgecell")


def _list(installation: Installation) -> None:
    used = {installation.linked(link): link for link in ("previous", "current")}
    for name in installation.names():
        print(f"{name}  {used.get(name, '')}".rstrip())


def main(words: Sequence[str]) -> int:
    """Exit code."""
    os.umask(0o022)
    try:
        _do(_arguments(words))
    except Refused as refused:
        print(f"install: error: {refused}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"install: error: {error}. Fix: free space, or run it as root", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
