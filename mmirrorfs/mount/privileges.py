"""What the processes of a view may do: which capabilities each keeps, and why; all others are given up for good.

Rule 1: before the first request is answered, and before any thread runs.
Rule 2: a program that is started gets no more: what is given up leaves the bounding set too, and no_new_privs is set.
Not so with ``--on-change``: the command is the administrator's, and has all that the daemon was started with, as if
root had typed it. For its sake the bounding set stays, and the bit is not set.
Rule 3: who cannot unmount by himself, which is a plain user, starts fusermount3 in the end, which is set-user-id: he
keeps the bounding set, and the bit is not set.
Rule 4: what is not had, in a container say, is not missed here: what needed it says so.
"""

import contextlib
import logging

from mmirrorfs.source import capabilities
from mmirrorfs.source.capabilities import Capability

log = logging.getLogger(__name__)

ALWAYS = {
    Capability.SYS_ADMIN: "unmount in the end; mark filesystems (fanotify), those of sources that come back too; mount "
    "the view a second time to announce; read trusted.* attributes",
    Capability.DAC_READ_SEARCH: "list and read sources whatever their modes; reach the mountpoint",
    Capability.FOWNER: "leave access times of other users' files alone (O_NOATIME)",
}
"""In effect in all threads of the daemon."""
ANNOUNCING = {Capability.DAC_OVERRIDE: "do in the view what changed in it, in directories of any user"}
"""In effect in an announcer's thread, while it announces."""
LOGGING = {Capability.DAC_OVERRIDE: "open the file of --log, wherever it is and whoever owns it after a rotation"}
"""In effect in the thread that opens the file, meanwhile."""
CRAWLING = {
    Capability.DAC_READ_SEARCH: "list sources whatever their modes",
    Capability.FOWNER: "leave access times of other users' directories alone (O_NOATIME)",
}
"""In effect in a process that crawls a source."""
MARKING = {Capability.SYS_ADMIN: "mark the filesystems that it meets (fanotify)"}
"""In effect in such a process too, where a filesystem is marked."""


def drop(announces: bool, logs: bool, runs_commands: bool) -> None:
    """Keep what a daemon needs: one that ``announces`` changes, has a log file, or runs a command on changes."""
    raisable = {**(ANNOUNCING if announces else {}), **(LOGGING if logs else {})}
    lasting = capabilities.has(Capability.SYS_ADMIN) and not runs_commands
    try:
        (capabilities.confine if lasting else capabilities.keep)(ALWAYS, raisable)
    except OSError as error:
        log.warning("the daemon keeps all privileges that it was started with: %s", error.strerror)


def drop_all() -> None:
    """Keep nothing: for a process that only waits for those that serve."""
    with contextlib.suppress(OSError):
        capabilities.confine(())


def of_crawl(marks: bool) -> tuple[Capability, ...]:
    """What a process keeps that crawls a source, and ``marks`` filesystems or not."""
    return (*CRAWLING, *(MARKING if marks else {}))
