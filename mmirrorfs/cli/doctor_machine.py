"""What ``--doctor`` looks at on the machine itself: FUSE, the kernel, limits, and where messages would go.

What there is is found out by trying, as a mount does, and not by version numbers.
"""

import errno
import importlib
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mmirrorfs.cli.finding import BAD, NOTE, OK, Finding
from mmirrorfs.cli.helper import HELPERS, NAME
from mmirrorfs.cli.versions import REINSTALL, versions
from mmirrorfs.mount import log as logs
from mmirrorfs.mount.clone import why_not
from mmirrorfs.source.beneath import PATH_ONLY, Support, open_beneath
from mmirrorfs.source.capabilities import SYS_ADMIN, has
from mmirrorfs.source.fanotify import FilesystemMarks
from mmirrorfs.source.filesystems import unique_id
from mmirrorfs.source.inotify import Watches, free_watches, limit

DEVICE = "/dev/fuse"
FUSE_CONF = "/etc/fuse.conf"
PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where mount(8) looks for the program of a type fuse.mmirrorfs."""
FEW = 10_000
"""inotify watches, one a directory, that are few for a library."""
_IN_A_CONTAINER = "in a container, start that with --device /dev/fuse --cap-add SYS_ADMIN"


def library() -> Iterator[Finding]:
    """Whether pyfuse3 can be loaded, with the libfuse that is here."""
    try:
        pyfuse3 = importlib.import_module("pyfuse3")
    except ImportError as error:
        yield Finding(BAD, "libfuse", f"pyfuse3 cannot be loaded: {error}", REINSTALL)
    else:
        lines = dict(line.split(" ", 1) for line in versions().splitlines() if " " in line)
        found = f"pyfuse3 {pyfuse3.__version__} and libfuse {lines.get('libfuse', '?')} fit"
        yield Finding(OK, "libfuse", found)


def device() -> Iterator[Finding]:
    """Whether the kernel's side can be opened."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            todo = f"load the module: modprobe fuse; {_IN_A_CONTAINER}"
        else:
            todo = f"let everybody open it, as udev does: chmod 666 {DEVICE}; {_IN_A_CONTAINER}"
        yield Finding(BAD, DEVICE, f"cannot be opened: {error.strerror}", todo)
    else:
        yield Finding(OK, DEVICE, "can be opened")


def mounting() -> Iterator[Finding]:
    """Whether this user may mount."""
    helper = shutil.which("fusermount3")
    if os.geteuid() == 0:
        if has(SYS_ADMIN):
            yield Finding(OK, "mounting", "root may")
        else:
            yield Finding(BAD, "mounting", "this root has no CAP_SYS_ADMIN", _IN_A_CONTAINER)
    elif helper is None:
        yield Finding(BAD, "mounting", "fusermount3, by which users mount, is missing", "install the package fuse3")
    elif not _is_setuid(helper):
        yield Finding(BAD, "mounting", f"{helper} is not setuid root", f"as root: chmod u+s {helper}")
    else:
        yield Finding(OK, "mounting", f"{helper} does it")


def _is_setuid(program: str) -> bool:
    st = os.stat(program)
    return st.st_uid == 0 and bool(st.st_mode & stat.S_ISUID)


def others() -> Iterator[Finding]:
    """Whether a view can be shown to others."""
    try:
        lines = Path(FUSE_CONF).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    if "user_allow_other" in map(str.strip, lines):
        yield Finding(OK, FUSE_CONF, "everybody may mount with allow_other")
    elif os.geteuid() == 0:
        yield Finding(OK, FUSE_CONF, "root alone may mount with allow_other")
    else:
        todo = f"for others to see your views, as root: echo user_allow_other >> {FUSE_CONF}"
        yield Finding(NOTE, FUSE_CONF, "plain users may not mount with allow_other", todo)


def kernel() -> Iterator[Finding]:
    """What it can do that makes a difference."""
    missing = []
    try:
        fd = open_beneath(b"/", b"", PATH_ONLY, cached=True)
    except OSError:
        fd = os.open("/", PATH_ONLY)
    try:
        if not Support.openat2:
            missing.append("openat2 (Linux 5.6, or a sandbox forbids it)")
        elif not Support.cached:
            missing.append("opening from memory (5.12): opens take longer")
        if not unique_id(fd):
            missing.append("unique mount numbers (6.8)")
    finally:
        os.close(fd)
    release = platform.release()
    if missing:
        yield Finding(NOTE, "kernel", f"{release} lacks {', '.join(missing)}", "all works; a newer one does it better")
    else:
        yield Finding(OK, "kernel", f"{release} has all that is used")


def fanotify() -> Iterator[Finding]:
    """Whether whole filesystems can be watched."""
    if os.geteuid():
        yield Finding(OK, "fanotify", "is root's: a plain user's sources are watched by inotify")
        return
    try:
        if not has(SYS_ADMIN):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        FilesystemMarks().close()
    except OSError as error:
        if error.errno == errno.EMFILE:
            todo = "raise it: sysctl fs.fanotify.max_user_groups=1024"
            yield Finding(BAD, "fanotify", "fs.fanotify.max_user_groups is used up: inotify watches instead", todo)
        else:
            yield Finding(NOTE, "fanotify", f"cannot be used ({error.strerror}): inotify watches instead")
    else:
        yield Finding(OK, "fanotify", "whole filesystems are watched")


def inotify() -> Iterator[Finding]:
    """Whether there are watches left, for who has to watch directory by directory."""
    if not limit():
        yield Finding(NOTE, "inotify", "this kernel has none: what fanotify does not watch is polled (--refresh)")
        return
    try:
        Watches().close()
    except OSError as error:
        todo = "raise it: sysctl fs.inotify.max_user_instances=1024"
        yield Finding(BAD, "inotify", f"no instance can be had: {error.strerror}", todo)
        return
    free, most = free_watches()
    found = f"{free:,} of {most:,} watches are free, a view takes half of them at the most, one a directory"
    if free < FEW:
        todo = "raise it: sysctl fs.inotify.max_user_watches=524288, and write that into /etc/sysctl.d/"
        yield Finding(NOTE, "inotify", found, todo)
    else:
        yield Finding(OK, "inotify", found)


def announcing() -> Iterator[Finding]:
    """Whether those who watch a view can be told."""
    why = why_not()
    if why:
        todo = "use --on-change, or mount as root" if os.geteuid() else "use --on-change"
        yield Finding(NOTE, "announcing", f"programs that watch a view are told nothing: {why}", todo)
    else:
        yield Finding(OK, "announcing", "programs that watch a view are told of changes")


def helpers() -> Iterator[Finding]:
    """Whether mount(8) and fstab find the program."""
    there = [link for link in HELPERS if os.path.lexists(link)]
    broken = [link for link in there if not os.access(link, os.X_OK)]
    found = shutil.which(NAME, path=os.pathsep.join(PROGRAMS))
    if broken:
        todo = "make them anew, as root: mmirrorfs --install-helper"
        yield Finding(BAD, "mount(8)", f"{', '.join(broken)} lead nowhere", todo)
    elif there:
        yield Finding(OK, "mount(8)", f"finds the program by {', '.join(there)}")
    elif found:
        yield Finding(OK, "mount(8)", f"finds {found} for the type fuse.mmirrorfs")
    else:
        todo = "for fstab, as root: mmirrorfs --install-helper"
        yield Finding(NOTE, "mount(8)", f"finds no {NAME} in {', '.join(PROGRAMS)}", todo)


def logging_place() -> Iterator[Finding]:
    """Where a view in the background would say what is wrong."""
    to = logs.background_place(b"/NAME")
    if to["to"] == "nowhere":
        yield Finding(NOTE, "messages", "of a view in the background go nowhere", "give it --log FILE")
    else:
        where = to.get("path", to["to"]).replace(os.path.basename(to.get("path", "")) or "\0", "")
        yield Finding(OK, "messages", f"of a view in the background go to {where.rstrip('/')}")
