"""restic and borg back up a view: unchanged files are not read again, and a restore equals the view.

Both compare a file's inode number, size and ctime, so all three must be stable, also after a remount on another device
number.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, shows
from tests.support.mounts import View, mounted
from tests.support.songs import library, looked_again, songs, winners
from tests.support.users import Word, output_of, run

pytestmark = pytest.mark.mount(seconds=120)

SECONDS = 60.0
"""Time limit of a command on five songs."""


class Backup(ABC):
    """A repository for a view."""

    def __init__(self, place: Path, view: Path) -> None:
        self.place, self.view = place, view
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Make the repository."""

    @abstractmethod
    def back_up(self) -> int:
        """Back up the view; returns how many files were read."""

    @abstractmethod
    def restore(self) -> Path:
        """Restore the latest backup; returns the restored root of the view."""

    def _output_of(self, *command: Word, cwd: Path | None = None) -> str:
        """stdout and stderr of a command."""
        home = {"RESTIC_CACHE_DIR": "cache", "BORG_BASE_DIR": "borg"}
        environment = {name: str(self.place / where) for name, where in home.items()}
        environment |= {"RESTIC_PASSWORD": "secret", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        words = command if cwd is None else ("env", "-C", cwd, *command)
        done = run(*words, seconds=SECONDS, environment=environment)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr!r}"
        return (done.stdout + done.stderr).decode()


class Restic(Backup):
    """restic counts new, changed and unmodified files in its summary."""

    def prepare(self) -> None:
        self._restic("init")

    def back_up(self) -> int:
        lines = self._restic("backup", "--json", self.view).splitlines()
        summary = next(line for line in map(json.loads, lines) if line["message_type"] == "summary")
        read: int = summary["files_new"] + summary["files_changed"]
        assert read + summary["files_unmodified"] == sum(path.is_file() for path in self.view.rglob("*"))
        return read

    def restore(self) -> Path:
        self._restic("restore", "latest", "--target", self.place / "restored")
        return Path(f"{self.place}/restored{self.view}")

    def _restic(self, *words: Word) -> str:
        return self._output_of("restic", "-r", self.place / "repository", *words)


class Borg(Backup):
    """borg lists the files that it read. It always reads the newest file of a backup, which is one outside the view."""

    def prepare(self) -> None:
        self._count = 0
        self._output_of("borg", "init", "-e", "none", self.place / "repository")

    def back_up(self) -> int:
        newest = self.place / "newest"
        newest.write_text("now")
        self._count += 1
        command = ("borg", "create", "--list", "--filter=AMCE", f"{self.place}/repository::{self._count}")
        lines = self._output_of(*command, self.view, newest).splitlines()
        assert all(line[:2] in ("A ", "M ") for line in lines), f"changed or failed meanwhile: {lines}"
        return sum(not line.endswith("newest") for line in lines)

    def restore(self) -> Path:
        (self.place / "restored").mkdir()
        archive = f"{self.place}/repository::{self._count}"
        self._output_of("borg", "extract", archive, cwd=self.place / "restored")
        return Path(f"{self.place}/restored{self.view}")


@pytest.mark.alone
@pytest.mark.parametrize("program", [Restic, Borg])
def test_only_changed_files_are_read_again_and_a_restore_equals_the_view(place: Path, program: type[Backup]) -> None:
    high, low = library(place)
    with mounted(place / "mnt", high, low, depth=2, options=[REFRESH]) as view:
        backup = program(place, view.mountpoint)
        assert backup.back_up() == 5
        looked_again(view)
        assert backup.back_up() == 0
        device = os.stat(view.mountpoint).st_dev
    with (
        taken(device, place, high, low),
        mounted(place / "mnt", high, low, depth=2, options=[REFRESH]) as view,
    ):
        assert os.stat(view.mountpoint).st_dev != device
        assert backup.back_up() == 0
        change_hands(high, low, view)
        assert backup.back_up() == 1
        restored = backup.restore()
        assert [str(path.relative_to(restored)) for path in sorted(restored.rglob("*.*"))] == list(winners(high, low))
        compare = ("rsync", "-anci", "--delete", f"{view.mountpoint}/", f"{restored}/")
        assert output_of(*compare) == b""


@contextmanager
def taken(device: int, place: Path, high: Path, low: Path) -> Iterator[None]:
    """Occupy a device number with another mount: the kernel hands out the lowest free one."""
    with ExitStack() as others:
        for number in range(5):
            other = others.enter_context(mounted(place / f"other {number}", high, low))
            if os.stat(other.mountpoint).st_dev == device:
                break
        yield


def change_hands(high: Path, low: Path, view: View) -> None:
    """Let the high source take over an album, and change a hidden file; wait until the takeover shows."""
    songs(high / "Ann/Low/1.flac")
    (low / "Ann/Both/1.mp3").write_bytes(b"hidden by the high source's folder")
    shows(lambda: [path.name for path in (view.mountpoint / "Ann/Low").iterdir()] == ["1.flac"], "it changed hands")
    looked_again(view)
