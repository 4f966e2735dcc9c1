"""The capabilities that each process of a view keeps, and why. All others are dropped for good.

Rule 1: they are dropped before the first request is served and before any thread starts.
Rule 2: child processes cannot regain them: they leave the bounding set too, and no_new_privs is set. Except with
``--on-change``: its command runs with all that the daemon was started with, as if root had typed it.
Rule 3: a plain user keeps the bounding set, without no_new_privs: unmounting runs fusermount3, which is set-user-id.
Rule 4: a capability that the process never had, as in a container, is no error here.

Main thread only. Raises nothing.
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
"""Effective in all threads of the daemon."""
ANNOUNCING = {Capability.DAC_OVERRIDE: "do in the view what changed in it, in directories of any user"}
"""Effective in an announcer's thread while it announces."""
LOGGING = {Capability.DAC_OVERRIDE: "open the file of --log, wherever it is and whoever owns it after a rotation"}
"""Effective in the thread that opens the log file, while it does."""
CRAWLING = {
    Capability.DAC_READ_SEARCH: "list sources whatever their modes",
    Capability.FOWNER: "leave access times of other users' directories alone (O_NOATIME)",
}
"""Effective in a process that crawls a source."""
MARKING = {Capability.SYS_ADMIN: "mark the filesystems that it meets (fanotify)"}
"""Effective in a crawling process as well if it marks filesystems."""


def drop(announces: bool, logs: bool, runs_commands: bool) -> None:
    """Drop what a daemon does not need; the flags say whether it announces changes, has a log file, and runs a command
    on changes.
    """
    raisable = {**(ANNOUNCING if announces else {}), **(LOGGING if logs else {})}
    lasting = capabilities.has(Capability.SYS_ADMIN) and not runs_commands
    try:
        (capabilities.confine if lasting else capabilities.keep)(ALWAYS, raisable)
    except OSError as error:
        log.warning("the daemon keeps all privileges that it was started with: %s", error.strerror)


def drop_all() -> None:
    """Drop all: for a process that only waits for others."""
    with contextlib.suppress(OSError):
        capabilities.confine(())


def of_crawl(marks: bool) -> tuple[Capability, ...]:
    """What a process that crawls a source keeps; ``marks`` says whether it marks filesystems."""
    return (*CRAWLING, *(MARKING if marks else {}))
