"""Checks of sources, mountpoints and log file before a mount; creates missing mountpoints.

Rule 1: each check raises Problem, with what is wrong and what to do.
Rule 2: a path that may hang (a source, the log file) is touched first in another process, with a time limit.
Rule 3: when a check fails, the mountpoints that were created are removed.
"""

import contextlib
import errno
import itertools
import logging
import os
import stat
from functools import partial

from mmirrorfs.cli.errors import FAILED, Problem
from mmirrorfs.cli.positionals import ALL_SOURCES, NamedSource, ViewSettings
from mmirrorfs.cli.settings import Settings
from mmirrorfs.mount import table
from mmirrorfs.mount.log import open_log
from mmirrorfs.source.filesystems import VIEW_TYPE, mount_under, parents
from mmirrorfs.source.reader import names_in
from mmirrorfs.text import printable

ANSWER_TIME = 60
"""Seconds in which a source must answer. A disk takes about ten to spin up."""

log = logging.getLogger(__name__)


def check(settings: Settings) -> list[bytes]:
    """Run all checks; returns the mountpoints that were created, for ``remove`` if the mount fails."""
    _check_answers(settings.sources)
    roots = [_check_source(source) for source in settings.sources]
    _check_distinct(settings.sources, roots)
    _warn_of_hidden_parents(settings, roots)
    created: list[bytes] = []
    if settings.simulate:
        return created
    _check_views_apart(settings.views)
    _check_log(settings, roots)
    try:
        for view in settings.views:
            if view.make and not os.path.lexists(view.mountpoint):
                created += _create(view.mountpoint)
            _check_mountpoint(view, settings, roots)
    except BaseException:
        remove(created)
        raise
    return created


def remove(created: list[bytes]) -> None:
    """Remove mountpoints that ``check`` created, unless they are not empty."""
    for mountpoint in reversed(created):  # one may be inside the other
        try:
            os.rmdir(mountpoint)
        except OSError:
            continue


def _check_answers(sources: tuple[NamedSource, ...]) -> None:
    """Probe in other processes: one that touches a hung source cannot be interrupted, and perhaps not even killed."""
    probes = [table.start_probe(partial(_list, source.path), ANSWER_TIME) for source in sources]
    for source, probe in zip(sources, probes, strict=True):
        try:
            table.finish_probe(probe, ANSWER_TIME)
        except TimeoutError:
            shown = printable(source.path)
            message = f"source {shown} does not answer: is its network, or the program behind it, alive?"
            raise Problem(message, FAILED) from None


def _list(path: bytes) -> bytes:
    """Probe: list the path. A failure is an answer too."""
    with contextlib.suppress(OSError):
        names_in(path)
    return b"1"


def _check_source(source: NamedSource) -> bytes:
    shown = printable(source.path)
    try:
        root = os.path.realpath(source.path, strict=True)
        if not stat.S_ISDIR(os.stat(root).st_mode):
            raise Problem(f"source {shown} is not a directory", FAILED)
        names_in(root)
    except FileNotFoundError:
        raise Problem(f"source {shown} does not exist: check the path, or mount it first", FAILED) from None
    except OSError as error:
        raise Problem(f"source {shown} cannot be read: {_reason(error)}", FAILED) from None
    return root


def check_last_source(sources: tuple[NamedSource, ...]) -> None:
    """Catch a mountpoint given as the last source beside --output-high or --output-low, where all paths are sources.

    Raises Problem where it does not exist. Warns where it is empty: it may be the mountpoint of a disk that is not
    mounted yet.
    """
    last = sources[-1]
    state = table.run_probe(partial(_state, last.path))
    if state == _MISSING:
        raise Problem(f"source {printable(last.path)} does not exist: {ALL_SOURCES}", FAILED)
    if state == _EMPTY and len(sources) > 2:
        log.warning("%s is empty: is it a source? %s", printable(last.path), ALL_SOURCES)


_MISSING, _EMPTY = b"missing", b"empty"


def _state(path: bytes) -> bytes:
    """Probe: _MISSING, _EMPTY, or nothing in any other case."""
    try:
        return b"" if names_in(path) else _EMPTY
    except FileNotFoundError:
        return _MISSING


def _check_distinct(sources: tuple[NamedSource, ...], roots: list[bytes]) -> None:
    seen: dict[tuple[int, int], NamedSource] = {}
    for source, root in zip(sources, roots, strict=True):
        st = os.stat(root)
        other = seen.setdefault((st.st_dev, st.st_ino), source)
        if other is not source:
            names = f"{printable(other.path)} and {printable(source.path)}"
            raise Problem(f"{names} are the same directory: a source can be given only once")


def _warn_of_hidden_parents(settings: Settings, roots: list[bytes]) -> None:
    """Permissions are checked by the modes inside the view, without those of the directories above a source."""
    if not settings.fuse_options & {"allow_other"}:
        return
    for root in roots:
        closed = next((above for above in parents(root) if not os.stat(above).st_mode & stat.S_IXOTH), None)
        if closed is not None:
            text = "%s is closed to other users, but what is under it in %s becomes readable for them through the view"
            log.warning(text, printable(closed), printable(root))


def _check_log(settings: Settings, roots: list[bytes]) -> None:
    """Create the log. It must not be in a source or a view, where each message would be a change to be reported."""
    if settings.log is None:
        return
    shown = printable(settings.log)
    try:
        path = table.finish_probe(table.start_probe(partial(os.path.realpath, settings.log)), table.ANSWER_TIME)
        mount = mount_under(path)
        directories = [*roots, *(os.path.realpath(view.mountpoint) for view in settings.views)]
        is_on_view = mount is not None and mount.type == VIEW_TYPE
        if is_on_view or any(_is_inside(path, directory) for directory in directories):
            raise Problem(f"--log {shown} is inside a source or a view: choose another place", FAILED)
        table.finish_probe(table.start_probe(partial(_open_log, path)), table.ANSWER_TIME)
    except TimeoutError:
        raise Problem(f"--log {shown} cannot be written: what it is on does not answer", FAILED) from None
    except OSError as error:
        message = "it is no regular file" if error.errno in (errno.ENODEV, errno.ENXIO) else _reason(error)
        raise Problem(f"--log {shown} cannot be written: {message}", FAILED) from None


def _open_log(path: bytes) -> bytes:
    """Probe: open it for writing."""
    os.close(open_log(os.fsdecode(path)))
    return b"1"


def _create(mountpoint: bytes) -> list[bytes]:
    shown = printable(mountpoint)
    try:
        os.mkdir(mountpoint)
    except FileExistsError:  # created by another command in the meantime
        return []
    except FileNotFoundError:
        above = printable(os.path.dirname(mountpoint))
        raise Problem(f"mountpoint {shown} cannot be made: {above} does not exist; make that first", FAILED) from None
    except OSError as error:
        raise Problem(f"mountpoint {shown} cannot be made: {_reason(error)}", FAILED) from None
    return [mountpoint]


def _check_mountpoint(view: ViewSettings, settings: Settings, roots: list[bytes]) -> None:
    shown = printable(view.mountpoint)
    try:
        where = os.path.realpath(view.mountpoint, strict=True)
        if not stat.S_ISDIR(os.stat(where).st_mode):
            raise Problem(f"mountpoint {shown} is not a directory", FAILED)
        _check_apart(where, shown, settings.sources, roots)
        if not settings.cover and os.listdir(where):
            message = "choose an empty one, or give --nonempty to mount over what is in it"
            raise Problem(f"mountpoint {shown} is not empty: {message}", FAILED)
    except FileNotFoundError:
        raise Problem(f"mountpoint {shown} does not exist: make it first (mkdir)", FAILED) from None
    except OSError as error:
        raise Problem(f"mountpoint {shown} cannot be used: {_reason(error)}", FAILED) from None


def _check_apart(where: bytes, shown: str, sources: tuple[NamedSource, ...], roots: list[bytes]) -> None:
    """A daemon that finds its own mount in a source deadlocks: it would wait for its own reply."""
    for source, root in zip(sources, roots, strict=True):
        if _is_inside(where, root):
            raise Problem(f"mountpoint {shown} is inside the source {printable(source.path)}: choose another", FAILED)
        if _is_inside(root, where):
            raise Problem(f"mountpoint {shown} would hide the source {printable(source.path)}: choose another", FAILED)


def _check_views_apart(views: tuple[ViewSettings, ...]) -> None:
    mountpoints = [os.path.realpath(view.mountpoint) for view in views]
    for one, other in itertools.combinations(mountpoints, 2):
        if _is_inside(one, other) or _is_inside(other, one):
            names = f"{printable(one)} and {printable(other)}"
            raise Problem(f"the mountpoints {names} are the same, or one is inside the other", FAILED)


def _is_inside(path: bytes, directory: bytes) -> bool:
    return os.path.commonpath([path, directory]) == directory


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOTCONN:
        return "a dead mount is in its place; unmount it first (umount -l)"
    return os.strerror(error.errno or errno.EIO)
