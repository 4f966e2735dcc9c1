"""All that serves one mount: its parts, put together, and the tasks that they run in.

Rule 1: nothing is forked once trio runs or a thread has started.
Rule 2: ready means that another process got an answer from the mount.
Rule 3: readers that are stuck in a hung source get EIO GRACE seconds after the end was asked for; who asks again
meanwhile, as the kernel does after a failed read-ahead, gets it too.
"""

import errno
import logging
import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import pyfuse3
import trio

from mmirrorfs.merge.index import Change
from mmirrorfs.mount import log as logs
from mmirrorfs.mount import requestloop, stacks, table
from mmirrorfs.mount.privileges import of_crawl
from mmirrorfs.mount.pulse import Pulse
from mmirrorfs.mount.questions import answering, paths_in
from mmirrorfs.mount.systemd import listens, notify
from mmirrorfs.serve.announce import Announcers
from mmirrorfs.serve.changelog import Changelog
from mmirrorfs.serve.explain import Explainer
from mmirrorfs.serve.hook import Hook
from mmirrorfs.serve.listen import Listener
from mmirrorfs.serve.metrics import exposition
from mmirrorfs.serve.notifier import Notifier
from mmirrorfs.serve.operations import Operations
from mmirrorfs.serve.probe import Choices
from mmirrorfs.serve.publish import Publish
from mmirrorfs.serve.recheck import recheck
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.serve.stage import Stage
from mmirrorfs.serve.status import counted, status, summary
from mmirrorfs.serve.watched import WatchReport
from mmirrorfs.source.access import Access
from mmirrorfs.source.crawl import Plan as CrawlPlan
from mmirrorfs.source.crawler import Crawl, Progress
from mmirrorfs.source.known import Known
from mmirrorfs.source.pace import NoThread, spawn, threaded
from mmirrorfs.source.source import Source
from mmirrorfs.source.walks import Revision
from mmirrorfs.text import fields, printable
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.handles import HandleResolver
from mmirrorfs.view.labels import Labels
from mmirrorfs.view.state import State
from mmirrorfs.view.view import View

log = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 1.0
"""Seconds that requests have to finish when the mount is ended."""
LAST = 0.25
"""Seconds for which EIO is said to all that asks still, where readers were stuck: the kernel asks at once."""
TASKS = 2000
"""Requests under way at once: more than the readers of a hung source will be, so that others are still served."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to mount where. ``options`` are libfuse's.

    With ``fallback`` a lost source counts as empty; ``crawls`` say what is crawled of each source, by rank; a request
    gets EIO after ``timeout`` seconds (0: never). With ``watch`` the sources' changes are listened to, and what is
    known by that is looked at every ``recheck`` seconds (0: never). ``on_change`` is the user's command, and
    ``identity`` is what a second mount of the same is known by. ``silent`` says why changes are not announced to those
    who watch the view; "" where they are. ``choices`` are for those who ask why something is not shown, ``line`` is the
    command that mounts the view, ``log`` the file that it says what happens in, and ``told`` its options, by name.
    """

    mountpoint: bytes
    options: frozenset[str]
    state: State
    fallback: bool = False
    crawls: tuple[CrawlPlan | None, ...] = ()
    timeout: float = 0.0
    watch: bool = True
    recheck: float = 0.0
    on_change: str | None = None
    identity: str = ""
    silent: str = ""
    choices: Choices = field(default_factory=Choices)
    line: tuple[str, ...] = ()
    log: bytes | None = None
    told: Mapping[str, object] = field(default_factory=dict)


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What the session obeys."""


class Session:
    """All that serves one mount, and its tasks. ``early`` are the signals that came before it ran."""

    def __init__(self, plan: Plan, ready: Callable[[], None], early: Sequence[int]) -> None:
        self.failed = False
        ways = 1 + len(plan.state.sources)
        self._notifier = Notifier(ways, _device)
        stage = Stage(plan.state.inodes, plan.state.known)
        self.announcers = Announcers(ways, stage, plan.silent)
        self.pulse = Pulse()
        self._early = early
        self._plan = plan
        self._ready = ready
        self._is_ready = False
        self._counting = trio.CapacityLimiter(1)
        self._mounted = trio.Event()
        self._requests = trio.CancelScope()
        self._told_to_end = trio.Event()
        self._hook = Hook(plan.on_change, plan.mountpoint) if plan.on_change is not None else None
        state = plan.state
        self._changelog = Changelog(state.sources)
        self._publish = Publish(state, self._notifier, self._changed, self.announcers)
        self._refresher = Refresher(state, self._publish, plan.fallback, self._looked, self._again)
        parts = zip(plan.crawls, state.sources, state.known, strict=True)
        self._crawls = [self._crawl(*part) for part in parts]
        self._view = View(state, self._refresher)
        self._listeners = [self._listener(source) if plan.watch else None for source in state.sources]
        self._reports = [
            WatchReport(source, known.trust, plan.watch)
            for source, known in zip(state.sources, state.known, strict=True)
        ]
        self._directories = Directories(self._view)
        self._explainer = Explainer(self._view, plan.mountpoint, self._refresher, self._progress, plan.choices)
        resolver = HandleResolver(self._view, self._is_crawling)
        labels = Labels(self._view, plan.identity, self._status, self._explainer.outline, self._metrics)
        self.operations = Operations(self._view, self._directories, resolver, labels, stage, plan.timeout)

    async def run(self, probe: tuple[int, int], device: str | None) -> None:
        """Serve until unmounted or told to end; ``device`` is the number of the view's."""
        self._notifier.start()
        self.announcers.start()
        requestloop.install(self.pulse)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._obey_signals)
            for source in self._plan.state.sources:
                nursery.start_soon(self._follow, source)
            tasks = [self._refresher.run, self._publish.run, self._changelog.run, self._end, self._notice_cut]
            for task in (*tasks, *([self._hook.run] if self._hook is not None else [])):
                nursery.start_soon(task)
            if device is not None:
                nursery.start_soon(answering, device, self._answer)
            nursery.start_soon(self._say_ready, probe)
            with self._requests:
                await pyfuse3.main(max_tasks=TASKS)
            if self._requests.cancelled_caught:
                with trio.move_on_after(LAST):
                    await pyfuse3.main(max_tasks=TASKS)
            nursery.cancel_scope.cancel()

    def stop(self, seconds: float) -> bool:
        """End the threads that call the kernel; False where one is stuck in it after ``seconds``."""
        over = [self.announcers.stop(seconds), self._notifier.stop(seconds)]
        return all(over)

    def _changed(self, changes: Sequence[Change]) -> None:
        self._changelog.changed(changes)
        if self._hook is not None:
            self._hook.changed(changes)

    async def _answer(self, question: dict[str, object]) -> dict[str, object] | None:
        """What is asked over the socket: "status", or to "explain" the first of some paths that is any of ours."""
        if question.get("ask") == "status":
            return await self._whole_status()
        if question.get("ask") == "explain":
            return await self._explainer.explain(paths_in(question))
        return None

    async def _status(self) -> dict[str, object]:
        """How the view is, for monitoring: see ``serve.status``."""
        crawls = [self._progress(source) for source in self._plan.state.sources]
        watches = [report.now() for report in self._reports]
        trees = [known.tree for known in self._view.known]
        counts = await self._count(partial(counted, self._view.inodes.index, trees))
        found = status(self._view, self._directories, self._refresher, crawls, watches, counts)
        last = self._changelog.last
        return {
            **found,
            **self.operations.counts(),
            "pause": round(self.pulse.pause(), 6),
            "changes": self._changelog.count,
            "changed": last["when"] if last is not None else None,
            "announce": self.announcers.report(),
        }

    async def _metrics(self) -> str:
        """The same for Prometheus."""
        return exposition([(self._plan.mountpoint, await self._status())])

    async def _whole_status(self) -> dict[str, object]:
        """With what is not for everybody who may enter the view."""
        own = {"options": self._plan.told, "log": logs.place(), "warnings": logs.warnings()}
        return {**await self._status(), "last_change": self._changelog.last, **own}

    def _progress(self, source: Source) -> Progress:
        """Nothing is done before the attributes are known of what the first scan took the names of."""
        crawl = self._crawls[source.rank]
        found = crawl.progress if crawl is not None else Progress()
        is_early = found.state == "done" and source.brief
        return replace(found, state="crawling") if is_early else found

    def _crawl(self, plan: CrawlPlan | None, source: Source, known: Known) -> Crawl | None:
        if plan is None:
            return None
        learn = Access(known, source.reader.wall_clock).learn
        return Crawl(plan, source.name, known.offer, learn, source.watch.learn, lambda: self.operations.served)

    def _is_crawling(self) -> bool:
        return any(crawl is not None and crawl.progress.state == "crawling" for crawl in self._crawls)

    def _listener(self, source: Source) -> Listener:
        fetch, clock, crawl = self._view.fetch[source.rank], self._view.freshness.clock, self._crawls[source.rank]
        return Listener(source, fetch, self._refresher.hint, self._lost_track, clock, crawl is not None)

    async def _follow(self, source: Source) -> None:
        """Have its changes reported, then look at all of it: what is listed by then is watched."""
        await self._mounted.wait()
        listener = self._listeners[source.rank]
        async with trio.open_nursery() as nursery:
            if listener is not None:
                await listener.open(2 * len(self._plan.state.sources))
                nursery.start_soon(listener.run)
            if not source.watch.descriptors:
                self._reports[source.rank].log()
            if listener is not None or source.brief:
                self._refresher.doubt(source)
            crawl = self._begin_crawl(source)
            if crawl is not None:
                nursery.start_soon(crawl.run)
            if self._plan.recheck > 0:
                fetch = self._view.fetch[source.rank]
                nursery.start_soon(recheck, self._plan.recheck, fetch, self._refresher.doubt, crawl, self._begin_crawl)

    def _begin_crawl(self, source: Source) -> Crawl | None:
        crawl, plan = self._crawls[source.rank], self._plan.crawls[source.rank]
        if crawl is not None and plan is not None:
            crawl.restart(_watching(plan, source))
        return crawl

    def _again(self, source: Source) -> None:
        """Everything in a source may be another: it is marked, crawled, and told of anew."""
        listener = self._listeners[source.rank]
        if listener is not None:
            listener.begin()
        self._begin_crawl(source)
        self._publish.everything()

    def _lost_track(self, source: Source) -> None:
        """Reports were lost."""
        self._again(source)
        self._refresher.doubt(source)

    def _looked(self, source: Source, revised: list[Revision]) -> None:
        listener = self._listeners[source.rank]
        if listener is not None:
            listener.scanned(revised)
            if source.watch.descriptors:  # else it may be about to be watched: ``_follow`` knows
                self._reports[source.rank].log()
        spawn(self._tell_systemd)

    async def _count(self, call: Callable[[], T]) -> T:
        """Call what goes through all folders: in a thread, or here where there is none to be had."""
        try:
            return await threaded(call, self._counting)
        except NoThread:
            return call()

    async def _tell_systemd(self) -> None:
        if self._is_ready and listens() and not self._told_to_end.is_set():
            said = await self._count(partial(summary, self._view, self._refresher))
            if not self._told_to_end.is_set():
                notify(f"STATUS={said}")

    async def _say_ready(self, probe: tuple[int, int]) -> None:
        await trio.lowlevel.wait_readable(probe[1])
        answered = _answered(probe)
        if self._told_to_end.is_set():
            return  # and nobody is told that it can be used
        if answered:
            self._is_ready = True
            self._view.freshness.forgets = self._notifier.everything()
            await self._tell_systemd()
            log.info("%s is mounted", printable(self._plan.mountpoint), extra=fields("mounted"))
            if self.announcers.silent:
                log.info("who watches it is not told of changes: %s", self.announcers.silent)
            self._ready()
            self._mounted.set()
        else:
            self.failed = True
            self._told_to_end.set()

    async def _obey_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(*SIGNALS) as arriving:
            task_status.started()
            for number in self._early:
                self._obey(number)
            async for number in arriving:
                self._obey(number)

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._refresher.refresh()
        elif number == signal.SIGUSR1:
            stacks.dump()
        else:
            log.info("ending on %s", signal.Signals(number).name)
            self._told_to_end.set()

    async def _end(self) -> None:
        """When told to: stop serving once no source is waited for; what waits after GRACE seconds is given up."""
        await self._told_to_end.wait()
        notify("STOPPING=1")
        sources = self._plan.state.sources
        with trio.move_on_after(GRACE):
            while any(source.pace.busy for source in sources):
                await trio.sleep(GRACE / 100)
            pyfuse3.terminate()
            await trio.sleep_forever()
        self._give_up()

    def _give_up(self) -> None:
        self.operations.ending = True
        self._requests.cancel()

    async def _notice_cut(self) -> None:
        """An abort, or ``umount -f``, ends the request loop, but not the requests that are stuck in a hung source."""
        with select.epoll() as hangups:
            for descriptor in table.fuse_descriptors():
                hangups.register(descriptor, 0)  # nothing but errors and hang-ups
            await trio.lowlevel.wait_readable(hangups.fileno())
        self._give_up()


def _watching(plan: CrawlPlan, source: Source) -> CrawlPlan:
    """The plan of a crawl that marks what it lists, for the daemon."""
    watch = source.watch
    return plan._replace(
        identity=source.identity,
        fanotify=watch.fanotify,
        inotify=watch.inotify,
        budget=watch.part,
        capabilities=of_crawl(marks=watch.fanotify is not None),
    )


def _device() -> int:
    """The descriptor by which the mount is served. Raises OSError where there is none."""
    found = table.fuse_descriptors()
    if not found:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return found[0]


def _answered(probe: tuple[int, int]) -> bool:
    try:
        return bool(table.finish_probe(probe))
    except OSError as error:
        log.error("the mount does not answer: %r", error)
        return False
