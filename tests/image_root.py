"""A Dockerfile's instructions carried out without Docker: in a folder with the base image's files, and then a command in what
came of it, as the image's user, with a root that cannot be written to.

No more of the language is understood than the Dockerfiles here use. Needs root, overlayfs, unshare and setpriv. The build sees
this machine's certificates, and PIP_CERT where that names them, for a proxy may stand between it and the packages.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BUILD_S, RUN_S = 4000, 1500
"""An emulated processor is twenty times slower than this machine's own, which needs two minutes for all of it."""
CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(slots=True)
class Image:
    """What a Dockerfile says. steps: shell lines of the build, in order; copies are lines that call cp from /context."""

    steps: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list)
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def read(dockerfile: Path) -> Image:
    """Raises ValueError for an instruction that is not understood."""
    image, arguments = Image(), dict[str, str]()
    for name, rest in _instructions(dockerfile.read_text(encoding="utf-8")):
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value.strip('"')
        elif name == "RUN":
            image.steps.append(f"{_assignments({**arguments, **image.env})} sh -c {shlex.quote(rest)}")
        elif name == "COPY":
            *sources, target = rest.split()
            image.steps.append(f"mkdir -p {target} && cd /context && cp {' '.join(sources)} {target}")
        elif name == "ENV":
            image.env.update({key: value for key, _, value in (pair.partition("=") for pair in shlex.split(rest))})
        elif name == "USER":
            image.user = rest
        elif name == "VOLUME":
            image.volumes.append(rest)
        elif name == "WORKDIR":
            image.workdir = rest
        elif name in ("ENTRYPOINT", "CMD"):
            setattr(image, {"ENTRYPOINT": "entrypoint", "CMD": "command"}[name], json.loads(rest))
        elif name != "FROM":
            raise ValueError(f"{dockerfile.name}: {name} is not understood")
    return image


def build(image: Image, base: Path, context: Path, made: Path) -> None:
    """Carry out the steps over the files of `base`, which stay as they are; what is new goes to `made`."""
    for name in ("new", "work", "whole"):
        (made / name).mkdir(parents=True)
    lines = [
        f"mount -t overlay overlay -o lowerdir={base},upperdir={made}/new,workdir={made}/work {made}/whole",
        f"mkdir -p {made}/whole/context",
        *_mounts(made / "whole", {context: "/context", CERTIFICATES: str(CERTIFICATES)}),
        *(f"chroot {made}/whole sh -ec {shlex.quote(step)}" for step in image.steps),
    ]
    kept = {key: value for key, value in os.environ.items() if key == "PIP_CERT"}
    _unshared(lines, environment=kept, patience_s=BUILD_S)


def run(image: Image, base: Path, made: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The entry point with these arguments: the image's user, no capability, a read-only root, /tmp in memory, its volumes."""
    root, (uid, gid) = made / "whole", image.user.split(":")
    line = [*image.entrypoint, *(arguments or image.command)]
    volumes: dict[Path, str] = {}
    for volume in image.volumes:
        kept = made / "volumes" / volume.lstrip("/")
        if not kept.exists():  # as Docker does: a new volume has what the image has there, and its owner
            kept.parent.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(made / "new" / volume.lstrip("/")), str(kept)], check=True)
        volumes[kept] = volume
    inside = f"cd {image.workdir} && exec {_assignments(image.env)} {shlex.join(line)}"
    rights = f"setpriv --reuid {uid} --regid {gid} --init-groups --no-new-privs --bounding-set -all --inh-caps -all"
    lines = [
        f"mount -t overlay overlay -o lowerdir={made}/new:{base} {root}",
        *_mounts(root, volumes),
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",  # noqa: S108 of the image
        f"exec chroot {root} {rights} sh -ec {shlex.quote(inside)}",
    ]
    return _unshared(lines, environment={}, patience_s=RUN_S, check=False)


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Name and rest of each, with continued lines joined and comments left out."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", plain).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def _assignments(values: Mapping[str, str]) -> str:
    return " ".join(["env", *(shlex.quote(f"{key}={value}") for key, value in values.items())])


def _mounts(root: Path, folders: Mapping[Path, str]) -> Iterator[str]:
    """/proc, /dev, and these folders at their places."""
    yield f"mount -t proc proc {root}/proc"
    yield f"mount --rbind /dev {root}/dev"
    for source, place in folders.items():
        yield f"mkdir -p {root}{place} 2>/dev/null; mount --bind {source} {root}{place}"


def _unshared(
    lines: Sequence[str], *, environment: Mapping[str, str], patience_s: float, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Shell lines in mounts and processes of their own, which go when they end."""
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    line = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-ec", "\n".join(lines)]
    ended = subprocess.run(line, env={**path, **environment}, capture_output=True, text=True, timeout=patience_s, check=False)
    if check and ended.returncode:
        raise RuntimeError(f"exit code {ended.returncode}:\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}")
    return ended
