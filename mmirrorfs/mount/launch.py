"""Processes: one for each mount, in the foreground or behind a parent that waits until the mounts answer.

Rule 1: the caller gets the exit code of what happened: 0 only when every mount answers, and none stays behind when
one could not be made.
Rule 2: the sources are scanned once, before the processes for the views part; from then on each stands alone.
Rule 3: stderr stays the caller's until the mount answers, for libfuse gives its reasons there.

No threads may be running when anything here forks. Exit codes are mount(8)'s.
"""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mmirrorfs.mount import log as logs
from mmirrorfs.mount import privileges
from mmirrorfs.mount.lock import Lock
from mmirrorfs.mount.mounting import MountFailed, serve
from mmirrorfs.mount.session import Plan
from mmirrorfs.mount.systemd import notify
from mmirrorfs.mount.tuning import raise_file_limit
from mmirrorfs.source.process import close_others
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

OK, INTERRUPTED, FAILED = 0, 8, 32

Build = Callable[[], Sequence[Plan]]
"""Scans the sources and says what to mount. May raise; starts no thread that outlives it."""
Guard = Callable[[Callable[[], int]], int]
"""Returns the exit code of a call, also for what it raises, and says why on stderr."""


class _Word:
    """The write end of a pipe on which one exit code is told, once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, code: int) -> None:
        """Tell it, unless something was told already."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):  # whoever waited may have gone away
                os.write(descriptor, b"%d\n" % code)
            os.close(descriptor)


def in_foreground(build: Build, lock: Lock) -> int:
    """Scan, mount and serve here until the end; returns the exit code. The lock is released when all mounts answer."""

    def ready() -> None:
        lock.release()
        notify("READY=1")

    plans = build()
    if len(plans) == 1:
        return _serve(plans[0], lambda: _settled(plans[0], ready))
    family = _Family(plans, False, lock)
    code = family.await_ready()
    if code == OK:
        ready()
        privileges.drop_all()
        code = family.await_end()
    return code


def in_background(build: Build, lock: Lock, guard: Guard) -> int:
    """Scan, mount and serve in the background; returns when all mounts answer, or with the exit code of what failed.

    The lock is released when all mounts answer; where that fails the caller has it still.
    """
    readable, writable = os.pipe()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.setsid()
        close_others([2, writable, *lock.descriptors()])
        word = _Word(writable)
        _leave(word, lambda: guard(lambda: _built(build, word, lock)))
    os.close(writable)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _report(readable)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        return INTERRUPTED
    finally:
        os.close(readable)


def _interrupt(number: int, frame: object) -> None:
    """Who ends the command ends what it began."""
    raise KeyboardInterrupt


def _built(build: Build, word: _Word, lock: Lock) -> int:
    """The child: scans; then it serves the only view, or gives each view a process and goes away when all answer."""
    plans = build()
    if len(plans) == 1:
        return _serve(plans[0], lambda: _to_background(plans[0], word, lock.release))
    code = _Family(plans, True, lock).await_ready()
    if code == OK:
        lock.release()
        word.say(OK)
    return code


def _report(readable: int) -> int:
    """The exit code that the other process tells; FAILED where it went away without a word."""
    with contextlib.suppress(ValueError):
        return int(os.read(readable, 16))
    print("mmirrorfs: the process that was to serve ended without a word: was it killed?", file=sys.stderr)
    return FAILED


def _leave(word: _Word, run: Callable[[], int]) -> None:
    """Run the rest of a forked process and end it, whatever happens, without the parent's clean-up.

    Its exit code is told, unless it was told that the mount answers: a mount that was ended before that is no success.
    """
    code = FAILED
    try:
        code = run()
    except Exception as error:
        log.debug("internal error", exc_info=error)
        print(f"mmirrorfs: internal error: {error!r}", file=sys.stderr)
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        word.say(code or INTERRUPTED)
        os._exit(code)


def _serve(plan: Plan, ready: Callable[[], None]) -> int:
    raise_file_limit()
    os.umask(0o022)
    os.chdir("/")
    try:
        serve(plan, ready)
    except MountFailed as error:
        print(f"mmirrorfs: cannot mount on {printable(plan.mountpoint)}: {error}", file=sys.stderr)
        return FAILED
    finally:
        logs.finish()
    return OK


def _settled(plan: Plan, ready: Callable[[], None]) -> None:
    """The mount answers, in the foreground."""
    logs.settle(plan.mountpoint, plan.log, background=False)
    ready()


def _to_background(plan: Plan, word: _Word, unlock: Callable[[], None]) -> None:
    """The mount answers: leave the caller's terminal and let it go on."""
    unlock()
    logs.settle(plan.mountpoint, plan.log, background=True)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    word.say(OK)


class _Family:
    """One process for each view."""

    def __init__(self, plans: Sequence[Plan], background: bool, lock: Lock) -> None:
        self._children: dict[int, Plan] = {}
        self._reports: list[int] = []
        self._ending = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._pass_on)  # before there are members that an ended family would leave behind
        for plan in plans:
            readable, writable = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(readable)
                word = _Word(writable)
                _leave(word, partial(_member, plan, word, background, lock))
            os.close(writable)
            self._children[child] = plan
            self._reports.append(readable)
        if self._ending:
            self._pass_on(signal.SIGTERM, None)  # to those that were not there yet when it was told

    def await_ready(self) -> int:
        """Wait for the word of each process; where one failed, end the others. Returns the exit code."""
        codes = [_report(readable) for readable in self._reports]
        code = max(codes)
        if code != OK:
            self._pass_on(signal.SIGTERM, None)
            self.await_end()
        return code

    def await_end(self) -> int:
        """Wait until all processes have ended; one that dies leaves the others alone."""
        worst = OK
        for child, status in self._ended():
            code = os.waitstatus_to_exitcode(status)
            where = printable(self._children.pop(child).mountpoint)
            if not self._ending and self._children:
                log.warning("the process that serves %s has ended (%d); the other views go on", where, code)
            worst = max(worst, FAILED if code < 0 else code)
        return worst

    def _ended(self) -> Iterator[tuple[int, int]]:
        """Those of its own that end, with their status. Others are its children too: of whoever started it by exec, and
        all orphans where it is the first process of a container."""
        while self._children:
            with contextlib.suppress(ChildProcessError):
                child, status = os.wait()
                if child in self._children:
                    yield child, status

    def _pass_on(self, number: int, frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._ending = True
            notify("STOPPING=1")
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _member(plan: Plan, word: _Word, background: bool, lock: Lock) -> int:
    """One process of a family. It shares the lock until its own mount answers; the family has it until all do."""

    def ready() -> None:
        lock.drop()
        word.say(OK)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    if background:
        return _serve(plan, lambda: _to_background(plan, word, lock.drop))
    return _serve(plan, lambda: _settled(plan, ready))
