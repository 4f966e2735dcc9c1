"""A view that a plain user mounts, in a mount namespace of its own."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.mounts import COMMAND, START
from tests.support.namespace import Inside
from tests.support.polling import exit_code, poll
from tests.support.users import AS_NOBODY, NOBODY


@dataclass(frozen=True, slots=True)
class PlainView:
    """The view, accessed by processes in the namespace."""

    inside: Inside
    mountpoint: Path
    log: Path

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="backslashreplace")

    def status(self) -> dict[str, Any]:
        """The output of ``--status --json``."""
        done = self.inside.run_as_nobody(*COMMAND, "--status", "--json", self.mountpoint)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def names(self, path: str = ".") -> list[str]:
        """The names in a directory of the view."""
        return self.inside.run_as_nobody("ls", self.mountpoint / path).stdout.decode().split()


@contextlib.contextmanager
def plain_view(inside: Inside, *sources: Path, options: Sequence[str] = ()) -> Iterator[PlainView]:
    """Mount ``sources`` as a plain user while the block runs. Raises AssertionError where that fails."""
    inside.let_everybody_open_fuse()
    where, log = inside.place / "view", inside.place / "view.log"
    where.mkdir()
    os.chown(where, NOBODY, NOBODY)
    words = inside.words(*AS_NOBODY, *COMMAND, *sources, where, "-f", "-v", *options)
    with open(log, "wb") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    view = PlainView(inside, where, log)
    try:
        poll(lambda: "is mounted" in view.text() or process.poll() is not None, "the view mounted", START)
        assert process.poll() is None, view.text()
        yield view
        assert inside.run_as_nobody("fusermount3", "-u", where).returncode == 0
        assert exit_code(process, START) == 0, view.text()
    finally:
        process.kill()
        exit_code(process, START)
