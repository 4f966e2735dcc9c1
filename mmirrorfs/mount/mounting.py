"""Mounting and unmounting: the only caller of ``pyfuse3.init`` and ``pyfuse3.close``. One FUSE session per process.

However the session ends (signal, umount, abort), no mount is left behind. Main thread only, before any other starts.
"""

import logging
import os
import signal
from collections.abc import Callable
from functools import partial

import pyfuse3
import trio

from mmirrorfs.mount import privileges, runtime, table, tuning
from mmirrorfs.mount.claims import claim
from mmirrorfs.mount.clone import let_write, writable
from mmirrorfs.mount.mounterrors import advice_for, captured_stderr
from mmirrorfs.mount.plan import Plan
from mmirrorfs.mount.reference import Reference, reference
from mmirrorfs.mount.session import GRACE, SIGNALS, Session
from mmirrorfs.mount.systemd import unit
from mmirrorfs.serve.announce import Announcers
from mmirrorfs.text import printable

log = logging.getLogger(__name__)


class MountFailed(Exception):
    """The mount could not be made, or does not answer; the message says what to do about it."""


def serve(plan: Plan, ready: Callable[[], None]) -> None:
    """Mount, and serve until unmounted. ``ready`` is called once the mount answers. Raises MountFailed."""
    session = Session(plan, ready, _recorded_signals())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a signal makes libfuse 3.17's init fail
    try:
        with captured_stderr() as captured:
            pyfuse3.init(session.operations, os.fsdecode(plan.mountpoint), set(plan.options))
    except RuntimeError:
        raise MountFailed(advice_for(captured.text)) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    own = reference(plan.mountpoint)
    try:
        if own is not None:
            claim(own, plan.identity)
            runtime.keep(plan.mountpoint, {"line": plan.line, "unit": unit()})
            tuning.tune(own.device)
            _announce(own, session.announcers)
        privileges.drop(not session.announcers.silent, plan.log is not None, plan.on_change is not None)
        tuning.settle_memory()
        tuning.share_interpreter()
        probe = table.start_probe(partial(table.is_alive, plan.mountpoint))
        device = own.device if own is not None else None
        trio.run(
            session.run, probe, device, instruments=[session.latency], restrict_keyboard_interrupt_to_checkpoints=True
        )
        if session.failed:
            raise MountFailed("the mount does not answer")
    finally:
        _close(own, session)
        for number in SIGNALS:  # a late one would only change the exit code
            signal.signal(number, signal.SIG_IGN)


def _announce(own: Reference, announcers: Announcers) -> None:
    """Open the announcers, if changes are to be announced; on failure record why not."""
    if not announcers.silent:
        try:
            let_write(own.where)
            announcers.open(partial(writable, own))
        except OSError as error:
            announcers.silent = f"the view could not be made writable for it: {error.strerror}"


def _close(own: Reference | None, session: Session) -> None:
    """Unmount, and free libfuse's session unless a thread is stuck in it: then the process's exit frees it.

    libfuse must not unmount: it detaches any mount on the mountpoint. With an /etc/mtab it runs umount(8), whose
    exec waits for a hung source to flush the inherited descriptors.
    """
    stopped = session.stop(GRACE)
    if own is not None and not own.detach(force=not stopped):
        log.error("%s could not be unmounted", printable(own.where))
    runtime.forget(own.where if own is not None else b"")
    if stopped or session.stop(GRACE):
        pyfuse3.close(unmount=False)


def _recorded_signals() -> list[int]:
    """Only record signals from now on: the list that they are appended to.

    A signal with its default action, before or after the session handles it, would leave the mount behind.
    """
    arrived: list[int] = []
    for wanted in SIGNALS:
        signal.signal(wanted, lambda number, frame: arrived.append(number))
    return arrived
