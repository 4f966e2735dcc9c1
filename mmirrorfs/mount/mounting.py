"""Mounting and unmounting: the only caller of pyfuse3's init and close. One FUSE session a process.

However it ends (a signal, umount, an abort), no mount stays behind.
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
from mmirrorfs.mount.plan import Plan
from mmirrorfs.mount.reasons import explained, listening
from mmirrorfs.mount.reference import Reference, reference
from mmirrorfs.mount.session import GRACE, SIGNALS, Session
from mmirrorfs.mount.systemd import unit
from mmirrorfs.serve.announce import Announcers
from mmirrorfs.text import printable

log = logging.getLogger(__name__)


class MountFailed(Exception):
    """The mount could not be made; libfuse has said why on stderr where it knew."""


def serve(plan: Plan, ready: Callable[[], None]) -> None:
    """Mount and serve until the end. ``ready`` is called when the mount was seen to answer. Raises MountFailed."""
    session = Session(plan, ready, _noted_signals())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # libfuse 3.17 gives up when its wait is interrupted
    try:
        with listening() as said:
            pyfuse3.init(session.operations, os.fsdecode(plan.mountpoint), set(plan.options))
    except RuntimeError:
        raise MountFailed(explained(said.text)) from None
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
            session.run, probe, device, instruments=[session.pulse], restrict_keyboard_interrupt_to_checkpoints=True
        )
        if session.failed:
            raise MountFailed("the mount does not answer")
    finally:
        _close(own, session)
        for number in SIGNALS:  # one that comes now would only spoil the exit code
            signal.signal(number, signal.SIG_IGN)


def _announce(own: Reference, announcers: Announcers) -> None:
    """Let those be who announce changes, if they are wanted and can be."""
    if not announcers.silent:
        try:
            let_write(own.where)
            announcers.open(partial(writable, own))
        except OSError as error:
            announcers.silent = f"the view could not be made writable for it: {error.strerror}"


def _close(own: Reference | None, session: Session) -> None:
    """Take the mount away and free libfuse's session, unless a thread is stuck in it: then it ends with the process.

    libfuse unmounts nothing: it would take whatever is on the mountpoint, and run umount(8) where there is an
    /etc/mtab, which does not start before a hung source has answered that descriptors are closed.
    """
    ended = session.stop(GRACE)
    if own is not None and not own.detach(force=not ended):
        log.error("%s could not be unmounted", printable(own.where))
    runtime.forget(own.where if own is not None else b"")
    if ended or session.stop(GRACE):
        pyfuse3.close(unmount=False)


def _noted_signals() -> list[int]:
    """Take note of signals, and do nothing else: the list of those that came.

    One that ended the process before its session listens, or when that does no more, would leave the mount behind.
    """
    came: list[int] = []
    for wanted in SIGNALS:
        signal.signal(wanted, lambda number, frame: came.append(number))
    return came
