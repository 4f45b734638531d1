"""A folder as the root of processes: to build in, and to run in with nothing writable but volumes.

Mounts are made in a namespace of the command's own and are gone with it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VOLUMES = ("store", "cache", "tmp")
UNSHARE = (
    "/usr/bin/unshare",
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
)


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a build needs of this host: how pip finds its packages, and whom it trusts."""

    environment: Mapping[str, str]
    paths: tuple[Path, ...]

    @classmethod
    def of_this_host(cls) -> Mounts:
        """pip's own settings, as variables; every file and folder that they name."""
        listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True)
        told = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        for line in listed.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith("global."):
                variable = "PIP_" + name.removeprefix("global.").upper().replace("-", "_")
                told[variable] = value.strip("'")
        words = " ".join(told.values()).split()
        named = {Path(word.removeprefix("file://")) for word in words}
        # An index's pages point to packages beside them.
        paths = {path.parent if path.name == "simple" else path for path in named}
        known = sorted(path for path in paths if path.is_absolute() and path.exists())
        return cls(told, (*known, Path("/etc/resolv.conf"), Path("/etc/hosts")))


@dataclass(frozen=True, slots=True)
class Root:
    """The folder `path` as a root."""

    path: Path

    def shell(self, line: str, place: str, environment: Mapping[str, str], mounts: Mounts) -> None:
        """A RUN: by a shell, as root, everything writable. CalledProcessError if it fails."""
        script = [self._special(), *(self._bind(path) for path in mounts.paths)]
        inside = f"cd {place} && {line}"
        script.append(f"exec /usr/sbin/chroot {self.path} /bin/sh -c {shlex.quote(inside)}")
        self._run("\n".join(script), {**environment, **mounts.environment})

    def as_user(
        self, user: str, command: list[str], environment: Mapping[str, str], *, quiet: bool = False
    ) -> None:
        """A command as it runs in the container, to its end."""
        self._run(self._confined(user, command), environment, quiet=quiet)

    @contextlib.contextmanager
    def started(
        self, user: str, command: list[str], environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A command as it runs in the container; ended with the block at the latest."""
        script = self._confined(user, command)
        # Without a PID namespace of its own, so that signals go to the command itself.
        child = subprocess.Popen([*UNSHARE[:4], "/bin/sh", "-euc", script], env=dict(environment))
        try:
            yield child
        finally:
            child.kill()
            child.wait()

    def _confined(self, user: str, command: list[str]) -> str:
        script = [f"/usr/bin/mount --bind {self.path} {self.path}"]
        for volume in VOLUMES:
            script += [
                f"mkdir -p {self.path}.{volume}",
                f"chown {user}:{user} {self.path}.{volume}",
            ]
            script += [f"/usr/bin/mount --bind {self.path}.{volume} {self.path}/{volume}"]
        script += [self._special(), f"/usr/bin/mount -o remount,bind,ro {self.path}"]
        inside = f"cd /dslm && exec {shlex.join(command)}"
        dropped = f"setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs"
        drop = f"{dropped} --bounding-set=-all --inh-caps=-all /bin/sh -c {shlex.quote(inside)}"
        return "\n".join([*script, f"exec /usr/sbin/chroot {self.path} {drop}"])

    def _special(self) -> str:
        return f"/usr/bin/mount -t proc proc {self.path}/proc; mount --rbind /dev {self.path}/dev"

    def _bind(self, path: Path) -> str:
        to = self.path / str(path).lstrip("/")
        make = f"mkdir -p {to}" if path.is_dir() else f"mkdir -p {to.parent}; touch {to}"
        return f"{make}; mount --bind -o ro {path} {to}"

    def _run(self, script: str, environment: Mapping[str, str], *, quiet: bool = False) -> None:
        command = [*UNSHARE, "/bin/sh", "-euc", script]
        out = subprocess.DEVNULL if quiet else None
        subprocess.run(command, check=True, env=dict(environment), stdout=out, stderr=out)
