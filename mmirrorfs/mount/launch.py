"""The processes of a command: one per mount, in the foreground or daemonized.

Rule 1: the exit code is 0 only if every mount answers. If one cannot be made, none is left behind.
Rule 2: the sources are scanned once, before the fork; after it the processes share nothing but the lock.
Rule 3: stderr stays the caller's until the mount answers: libfuse reports errors there.

No other thread may run when anything here forks. Exit codes are mount(8)'s.
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
from mmirrorfs.mount.plan import Plan
from mmirrorfs.mount.systemd import notify
from mmirrorfs.mount.tuning import raise_file_limit
from mmirrorfs.source.process import close_others
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

OK, INTERRUPTED, FAILED = 0, 8, 32

Build = Callable[[], Sequence[Plan]]
"""Scans the sources and returns what to mount. May raise; leaves no thread running."""
Guard = Callable[[Callable[[], int]], int]
"""Returns the exit code of a call. Exceptions become exit codes, with a message on stderr."""


class _ExitCodePipe:
    """The write end of a pipe that carries one exit code."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, code: int) -> None:
        """Send it, unless a code was sent before."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):  # the reader may have exited
                os.write(descriptor, b"%d\n" % code)
            os.close(descriptor)


def in_foreground(build: Build, lock: Lock) -> int:
    """Scan, mount and serve until unmounted; returns the exit code. Releases the lock when all mounts answer."""

    def ready() -> None:
        lock.release()
        notify("READY=1")

    plans = build()
    if len(plans) == 1:
        return _serve(plans[0], lambda: _log_ready(plans[0], ready))
    supervisor = _Supervisor(plans, False, lock)
    code = supervisor.await_ready()
    if code == OK:
        ready()
        privileges.drop_all()
        code = supervisor.await_end()
    return code


def in_background(build: Build, lock: Lock, guard: Guard) -> int:
    """Scan, mount and serve in the background; returns OK when all mounts answer, else the exit code of the failure.

    Releases the lock when all mounts answer; on failure the caller still holds it.
    """
    readable, writable = os.pipe()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.setsid()
        close_others([2, writable, *lock.descriptors()])
        pipe = _ExitCodePipe(writable)
        _run_and_exit(pipe, lambda: guard(lambda: _serve_detached(build, pipe, lock)))
    os.close(writable)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _exit_code(readable)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        return INTERRUPTED
    finally:
        os.close(readable)


def _interrupt(number: int, frame: object) -> None:
    """On SIGTERM, stop the child as well."""
    raise KeyboardInterrupt


def _serve_detached(build: Build, pipe: _ExitCodePipe, lock: Lock) -> int:
    """In the child: scan; then serve a single view, or fork a process per view and return when all answer."""
    plans = build()
    if len(plans) == 1:
        return _serve(plans[0], lambda: _detach(plans[0], pipe, lock.release))
    code = _Supervisor(plans, True, lock).await_ready()
    if code == OK:
        lock.release()
        pipe.send(OK)
    return code


def _exit_code(readable: int) -> int:
    """The exit code that the other process sends; FAILED if it exited without one."""
    with contextlib.suppress(ValueError):
        return int(os.read(readable, 16))
    logs.print_error("mount process exited before the mount was ready (killed?)")
    return FAILED


def _run_and_exit(pipe: _ExitCodePipe, run: Callable[[], int]) -> None:
    """Run the rest of a forked process, then exit without the parent's clean-up.

    Sends the exit code, unless the mount was reported ready before. A mount that ended before that is not a success.
    """
    code = FAILED
    try:
        code = run()
    except Exception as error:
        log.debug("internal error", exc_info=error)
        logs.print_error(f"internal error: {error!r}")
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        pipe.send(code or INTERRUPTED)
        os._exit(code)


def _serve(plan: Plan, ready: Callable[[], None]) -> int:
    raise_file_limit()
    os.umask(0o022)
    os.chdir("/")
    try:
        serve(plan, ready)
    except MountFailed as error:
        logs.print_error(f"cannot mount on {printable(plan.mountpoint)}: {error}")
        return FAILED
    finally:
        logs.finish()
    return OK


def _log_ready(plan: Plan, ready: Callable[[], None]) -> None:
    """Called when the mount answers, in the foreground."""
    logs.settle(plan.mountpoint, plan.log, background=False)
    ready()


def _detach(plan: Plan, pipe: _ExitCodePipe, unlock: Callable[[], None]) -> None:
    """Called when the mount answers, in the background: close the caller's terminal and let the caller exit."""
    unlock()
    logs.settle(plan.mountpoint, plan.log, background=True)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    pipe.send(OK)


class _Supervisor:
    """Forks one process per view, forwards signals to them and waits for them."""

    def __init__(self, plans: Sequence[Plan], background: bool, lock: Lock) -> None:
        self._children: dict[int, Plan] = {}
        self._pipes: list[int] = []
        self._ending = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._forward)  # before the first fork: else SIGTERM would orphan children
        for plan in plans:
            readable, writable = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(readable)
                pipe = _ExitCodePipe(writable)
                _run_and_exit(pipe, partial(_run_child, plan, pipe, background, lock))
            os.close(writable)
            self._children[child] = plan
            self._pipes.append(readable)
        if self._ending:
            self._forward(signal.SIGTERM, None)  # to those forked after it arrived

    def await_ready(self) -> int:
        """Wait until each process is ready or has failed; if one failed, stop the others. Returns the exit code."""
        codes = [_exit_code(readable) for readable in self._pipes]
        code = max(codes)
        if code != OK:
            self._forward(signal.SIGTERM, None)
            self.await_end()
        return code

    def await_end(self) -> int:
        """Wait until all processes have exited; if one dies, the others go on. Returns the worst exit code."""
        worst = OK
        for child, status in self._ended():
            code = os.waitstatus_to_exitcode(status)
            where = printable(self._children.pop(child).mountpoint)
            if not self._ending and self._children:
                log.warning("the process that serves %s has ended (%d); the other views go on", where, code)
            worst = max(worst, FAILED if code < 0 else code)
        return worst

    def _ended(self) -> Iterator[tuple[int, int]]:
        """Processes as they exit, with their wait status. Foreign children (those inherited over exec, and all orphans
        if this is a container's init) are reaped and ignored."""
        while self._children:
            with contextlib.suppress(ChildProcessError):
                child, status = os.wait()
                if child in self._children:
                    yield child, status

    def _forward(self, number: int, frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._ending = True
            notify("STOPPING=1")
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _run_child(plan: Plan, pipe: _ExitCodePipe, background: bool, lock: Lock) -> int:
    """In a supervised process: share the lock until its own mount answers. The supervisor holds it until all do."""

    def ready() -> None:
        lock.drop()
        pipe.send(OK)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    if background:
        return _serve(plan, lambda: _detach(plan, pipe, lock.drop))
    return _serve(plan, lambda: _log_ready(plan, ready))
