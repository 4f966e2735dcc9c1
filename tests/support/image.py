"""The Containerfile and compose.yaml, and a container by their settings, made of namespaces as an engine does it.

1. Entrypoint and health check are the image's; capabilities, device, network and volumes those of compose.yaml. System
   and program are this machine's and the checkout's, read-only.
2. The host is a mount namespace of the test's own, with its own /srv.
3. When the block ends, all processes of the container are killed, and its namespaces are gone.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.namespace import Inside
from tests.support.polling import exit_code, poll
from tests.support.users import need, run

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
PATH = "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ENDS = 20.0
"""Seconds that a container may take to exit."""


def instructions(name: str) -> list[str]:
    """The arguments of all instructions of one name in the Containerfile, in order."""
    lines = re.sub(r"^#.*\n", "", (PACKAGING / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return re.findall(rf"^{name} +(.*)$", lines, re.MULTILINE)


def entrypoint() -> list[str]:
    """The image's entrypoint."""
    (words,) = instructions("ENTRYPOINT")
    return [str(word) for word in json.loads(words)]


def health_check() -> str:
    """The shell command of the image's health check."""
    (found,) = instructions("HEALTHCHECK")
    return found.partition("CMD ")[2]


def service(name: str = "mmirrorfs") -> dict[str, Any]:
    """A service of compose.yaml."""
    found: dict[str, Any] = yaml.safe_load((PACKAGING / "compose.yaml").read_text())["services"][name]
    return found


@dataclass(frozen=True, slots=True)
class Container:
    """A running container. ``process`` is outside of it, ``first`` the outside id of its init process."""

    process: "subprocess.Popen[bytes]"
    first: int
    log: Path

    def text(self) -> str:
        """Its stderr so far."""
        return self.log.read_text()

    def children(self) -> list[str]:
        """The names of its init process's children; none when that has exited."""
        found = []
        with contextlib.suppress(OSError):
            for pid in Path(f"/proc/{self.first}/task/{self.first}/children").read_text().split():
                found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        return found

    def run(self, script: str) -> int:
        """Run a shell script in it, like ``docker exec``; returns the exit code."""
        namespaces = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net"]
        return run(*namespaces, *_environment(), "sh", "-c", script).returncode

    def end(self, number: signal.Signals) -> int:
        """Send its init process a signal and wait for its exit; returns the exit code."""
        os.kill(self.first, number)
        return exit_code(self.process, ENDS)


@contextlib.contextmanager
def running(host: Inside, *words: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Run a container on a host while the block runs: ``words`` after the image's entrypoint, or after ``command``."""
    log = host.place / "log"
    script = host.place / "start"
    started = [_own(word) for word in (*(command or entrypoint()), *words)]
    last = f"exec {shlex.join([*_environment(), *_rights(), *started])}\n"
    script.write_text("\n".join([*_setup(host.place / "root"), last]))
    namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--propagation", "unchanged"]
    assert service()["network_mode"] == "none"
    with open(log, "wb") as file:
        process = subprocess.Popen(host.words(*namespaces, "sh", "-e", script), stderr=file, stdin=subprocess.DEVNULL)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        poll(lambda: process.poll() is not None or children.read_text(), "the first process")
        assert process.poll() is None, log.read_text()
        yield Container(process, int(children.read_text()), log)
    finally:
        process.kill()
        exit_code(process, ENDS)


def volumes() -> Iterator[tuple[str, str, str, bool]]:
    """The bind mounts, as (path on the host, path in the container, propagation, read-only)."""
    for volume in service()["volumes"]:
        if isinstance(volume, dict):
            how = str(volume["bind"]["propagation"])
            yield str(volume["source"]), str(volume["target"]), how, bool(volume.get("read_only"))


def _environment() -> list[str]:
    return ["env", "-i", f"PATH={PATH}", f"PYTHONPATH={ROOT}", "LANG=C.UTF-8"]


def _rights() -> list[str]:
    """The command that limits root to the capabilities of compose.yaml."""
    given = service()
    assert given["cap_drop"] == ["ALL"]
    assert "no-new-privileges=true" in given["security_opt"]
    allowed = ",".join(f"+{name.lower()}" for name in given["cap_add"])
    return ["setpriv", f"--bounding-set=-all,{allowed}", "--inh-caps=-all", "--no-new-privs"]


def _own(word: str) -> str:
    """A word of the entrypoint; tini by its path here."""
    return need("tini") if word == "tini" else word


def _setup(root: Path) -> Iterator[str]:
    """Shell commands that pivot to a root on a tmpfs, in which the host's volumes are all that is left of the host."""
    yield f"mkdir -p {root}; mount -t tmpfs -o mode=755 none {root}; cd {root}"
    yield "mkdir -p proc dev etc old opt/bin; cp /etc/passwd /etc/ld.so.cache etc; mount -t proc none proc"
    for directory in service()["tmpfs"]:
        yield f"mkdir -p .{directory}; mount -t tmpfs none .{directory}"
    for directory in ("/bin", "/sbin", "/lib", "/lib64", "/usr"):
        if os.path.islink(directory):
            yield f"ln -s {os.readlink(directory)} .{directory}"
        elif os.path.isdir(directory):
            yield _bound(directory, directory, "private", True)
    for directory in {sys.prefix, sys.base_prefix, str(ROOT)}:
        if not directory.startswith("/usr"):
            yield _bound(directory, directory, "private", True)
    for device in ("/dev/null", *service()["devices"]):
        yield f"touch .{device}; mount --bind {device} .{device}"
    for where, target, how, read_only in volumes():
        yield _bound(where, target, how, read_only)
    yield f"cp {shlex.quote(str(PACKAGING / 'mmirrorfs.toml'))} etc"
    program = f'#!/bin/sh\nexec {shlex.join([sys.executable, "-m", "mmirrorfs"])} "$@"'
    yield f"echo {shlex.quote(program)} >opt/bin/mmirrorfs; chmod 755 opt/bin/mmirrorfs"
    yield "pivot_root . old; cd /; mount --make-rslave old; umount --lazy old"
    if service()["read_only"]:
        yield "mount -o remount,ro /"


def _bound(where: str, target: str, how: str, read_only: bool) -> str:
    recursive = "--rbind" if how.startswith("r") else "--bind"
    here, there = shlex.quote(f".{target}"), shlex.quote(where)
    line = f"mkdir -p {here}; mount {recursive} {there} {here}; mount --make-{how} {here}"
    return line + (f"; mount -o remount,bind,ro {here}" if read_only else "")
