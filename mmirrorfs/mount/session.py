"""The life of one mount: its parts put together, and the tasks that run from start to end.

Rule 1: nothing forks once trio runs or a thread has started.
Rule 2: a mount is ready when another process got an answer from it.
Rule 3: GRACE seconds after the end was requested, readers stuck in a hung source get EIO. So do their retries (the
kernel's after a failed read-ahead), for LAST seconds.

Event loop's thread only, but for ``stop``.
"""

import logging
import select
import signal
from collections.abc import Callable, Sequence

import pyfuse3
import trio

from mmirrorfs.merge.index import Change
from mmirrorfs.mount import requestloop, stacks, table
from mmirrorfs.mount.control import serve_queries
from mmirrorfs.mount.controlclient import Values
from mmirrorfs.mount.introspection import Introspection
from mmirrorfs.mount.looplatency import LoopLatency
from mmirrorfs.mount.plan import Plan
from mmirrorfs.mount.sourcetasks import SourceTasks
from mmirrorfs.mount.systemd import listens, notify
from mmirrorfs.serve.announce import Announcers
from mmirrorfs.serve.changelog import Changelog
from mmirrorfs.serve.explain import Explainer
from mmirrorfs.serve.hook import Hook
from mmirrorfs.serve.notifier import Notifier
from mmirrorfs.serve.operations import Operations
from mmirrorfs.serve.publish import Publish
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.serve.stage import Stage
from mmirrorfs.source.source import Source
from mmirrorfs.source.threads import spawn
from mmirrorfs.source.walks import Revision
from mmirrorfs.text import fields, printable
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.handles import HandleResolver
from mmirrorfs.view.labels import Labels
from mmirrorfs.view.view import View

log = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds that requests have to finish when the mount is ended."""
LAST = 0.25
"""Seconds for which every further request gets EIO, where readers were stuck: the kernel retries at once."""
TASKS = 2000
"""Requests under way at once: more than a hung source has readers, so that others are still served."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that the session handles."""


class Session:
    """Serves one mount. ``ready`` is called when it answers; ``early`` are the signals that arrived before ``run``."""

    def __init__(self, plan: Plan, ready: Callable[[], None], early: Sequence[int]) -> None:
        self.failed = False
        state, threads = plan.state, 1 + len(plan.state.sources)
        self._notifier = Notifier(threads, _device)
        stage = Stage(state.inodes, state.known)
        self.announcers = Announcers(threads, stage, plan.silent, self._notifier.expire_now)
        self.latency = LoopLatency()
        self._plan, self._ready, self._early = plan, ready, early
        self._is_ready = False
        self._mounted, self._ending = trio.Event(), trio.Event()
        self._requests = trio.CancelScope()
        self._hook = Hook(plan.on_change, plan.mountpoint) if plan.on_change is not None else None
        self._changelog = Changelog(state.sources)
        self._publish = Publish(state, self._notifier, self._changed, self.announcers)
        self._refresher = refresher = Refresher(state, self._publish, plan.fallback, self._scanned, self._reset)
        self._view = view = View(state, refresher)
        self._tasks = tasks = [
            SourceTasks(plan, source, view, refresher, self._publish, self._served) for source in state.sources
        ]
        directories = Directories(view)
        explainer = Explainer(view, plan.mountpoint, refresher, lambda of: tasks[of.rank].progress(), plan.choices)
        self._reports = reports = Introspection(
            plan, view, directories, refresher, tasks, self._changelog, explainer, self._counters
        )
        resolver = HandleResolver(view, lambda: any(task.is_crawling() for task in tasks))
        labels = Labels(view, plan.identity, reports.status, explainer.outline, reports.metrics)
        self.operations = Operations(view, directories, resolver, labels, stage, plan.timeout)

    async def run(self, probe: tuple[int, int], device: str | None) -> None:
        """Serve until unmounted or told to end. ``device`` is the view's device number, None if it is not known."""
        self._notifier.start()
        self.announcers.start()
        requestloop.install(self.latency)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._handle_signals)
            for task in self._tasks:
                nursery.start_soon(task.run, self._mounted)
            services = [self._refresher.run, self._publish.run, self._changelog.run, self._end, self._watch_connection]
            for service in (*services, *([self._hook.run] if self._hook is not None else [])):
                nursery.start_soon(service)
            if device is not None:
                nursery.start_soon(serve_queries, device, self._reports.answer)
            nursery.start_soon(self._await_ready, probe)
            with self._requests:
                await pyfuse3.main(max_tasks=TASKS)
            if self._requests.cancelled_caught:
                with trio.move_on_after(LAST):
                    await pyfuse3.main(max_tasks=TASKS)
            nursery.cancel_scope.cancel()

    def stop(self, seconds: float) -> bool:
        """End the threads that call the kernel; False if one is still stuck there after ``seconds``."""
        return all([self.announcers.stop(seconds), self._notifier.stop(seconds)])

    def _changed(self, changes: Sequence[Change]) -> None:
        self._changelog.changed(changes)
        if self._hook is not None:
            self._hook.changed(changes)

    def _scanned(self, source: Source, revised: list[Revision]) -> None:
        self._tasks[source.rank].scanned(revised)
        spawn(self._notify_systemd)

    def _reset(self, source: Source) -> None:
        self._tasks[source.rank].restart()

    def _served(self) -> int:
        return self.operations.served

    def _counters(self) -> Values:
        pause, announce = round(self.latency.longest_pause(), 6), self.announcers.report()
        return {**self.operations.counts(), "pause": pause, "announce": announce}

    async def _notify_systemd(self) -> None:
        if self._is_ready and listens() and not self._ending.is_set():
            summary = await self._reports.summary()
            if not self._ending.is_set():
                notify(f"STATUS={summary}")

    async def _await_ready(self, probe: tuple[int, int]) -> None:
        await trio.lowlevel.wait_readable(probe[1])
        try:
            answers = bool(table.finish_probe(probe))
        except OSError as error:
            log.error("the mount does not answer: %r", error)
            answers = False
        if self._ending.is_set():
            return  # and ``ready`` is never called
        if answers:
            self._is_ready = True
            await self._notify_systemd()
            log.info("%s is mounted", printable(self._plan.mountpoint), extra=fields("mounted"))
            if self.announcers.silent:
                log.info("who watches it is not told of changes: %s", self.announcers.silent)
            self._ready()
            self._mounted.set()
        else:
            self.failed = True
            self._ending.set()

    async def _handle_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(*SIGNALS) as arriving:
            task_status.started()
            for number in self._early:
                self._handle(number)
            async for number in arriving:
                self._handle(number)

    def _handle(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._refresher.refresh()
        elif number == signal.SIGUSR1:
            stacks.dump()
        else:
            log.info("ending on %s", signal.Signals(number).name)
            self._ending.set()

    async def _end(self) -> None:
        """End the request loop as soon as no call waits for a source; after GRACE seconds cancel those that do."""
        await self._ending.wait()
        notify("STOPPING=1")
        sources = self._plan.state.sources
        with trio.move_on_after(GRACE):
            while any(source.threads.busy for source in sources):
                await trio.sleep(GRACE / 100)
            pyfuse3.terminate()
            await trio.sleep_forever()
        self._cancel_requests()

    def _cancel_requests(self) -> None:
        self.operations.ending = True
        self._requests.cancel()

    async def _watch_connection(self) -> None:
        """An abort, or ``umount -f``, ends the request loop, but not the requests that are stuck in a hung source."""
        with select.epoll() as hangups:
            for descriptor in table.fuse_descriptors():
                hangups.register(descriptor, 0)  # EPOLLERR and EPOLLHUP only
            await trio.lowlevel.wait_readable(hangups.fileno())
        self._cancel_requests()


def _device() -> int:
    """The /dev/fuse descriptor of the mount; -1 if it is not found."""
    return next(iter(table.fuse_descriptors()), -1)
