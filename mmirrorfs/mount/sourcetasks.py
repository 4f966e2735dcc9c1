"""The background tasks of one source of a mounted view: its change listener, its crawl and its periodic recheck.

Rule 1: the listener is open before the source is rescanned, so that every directory listed by that scan is watched.
Rule 2: a crawl is "done" only when the attributes of all names from the first scan are known too.

Event loop's thread only.
"""

from collections.abc import Callable
from dataclasses import replace

import trio

from mmirrorfs.mount.plan import Plan
from mmirrorfs.mount.privileges import of_crawl
from mmirrorfs.serve.listen import Listener
from mmirrorfs.serve.publish import Publish
from mmirrorfs.serve.recheck import recheck
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.serve.watched import WatchReport
from mmirrorfs.source.access import Access
from mmirrorfs.source.crawler import Crawl, Progress
from mmirrorfs.source.source import Source
from mmirrorfs.source.walks import Revision
from mmirrorfs.view.view import View


class SourceTasks:
    """The tasks of ``source``. ``served`` returns how many requests were answered: a crawl steps aside for them."""

    def __init__(
        self, plan: Plan, source: Source, view: View, refresher: Refresher, publish: Publish, served: Callable[[], int]
    ) -> None:
        known, crawl = view.known[source.rank], plan.crawls[source.rank]
        learn, fetch = Access(known, source.reader.wall_clock).learn, view.fetch[source.rank]
        calls = refresher.hint, self._lost_track, view.freshness.clock
        self._plan, self._source, self._fetch = plan, source, fetch
        self._refresher, self._publish = refresher, publish
        self._crawl = (
            Crawl(crawl, source.name, known.offer, learn, source.watch.learn, served) if crawl is not None else None
        )
        self._listener = Listener(source, fetch, *calls, crawl is not None) if plan.watch else None
        self.watch = WatchReport(source, known.trust, plan.watch)

    async def run(self, mounted: trio.Event) -> None:
        """Once mounted watch the source, scan it, crawl it, and recheck it from time to time. Until cancelled."""
        await mounted.wait()
        async with trio.open_nursery() as nursery:
            if self._listener is not None:
                await self._listener.open(2 * len(self._plan.state.sources))
                nursery.start_soon(self._listener.run)
            if not self._source.watch.descriptors:
                self.watch.log()
            if self._listener is not None or self._source.brief:
                self._refresher.doubt(self._source)
            self._restart_crawl(self._source)
            if self._crawl is not None:
                nursery.start_soon(self._crawl.run)
            if self._plan.recheck > 0:
                doubt, restart = self._refresher.doubt, self._restart_crawl
                nursery.start_soon(recheck, self._plan.recheck, self._fetch, doubt, self._crawl, restart)

    def restart(self) -> None:
        """Anything in the source may have changed: watch, crawl and publish all of it again."""
        if self._listener is not None:
            self._listener.begin()
        self._restart_crawl(self._source)
        self._publish.everything()

    def scanned(self, revised: list[Revision]) -> None:
        """A scan has ended: tell the listener what it revised, and log how the source is watched."""
        if self._listener is not None:
            self._listener.scanned(revised)
            if self._source.watch.descriptors:  # else it may be about to be watched: ``run`` logs it
                self.watch.log()

    def progress(self) -> Progress:
        """How far the crawl is (rule 2)."""
        found = self._crawl.progress if self._crawl is not None else Progress()
        is_early = found.state == "done" and self._source.brief
        return replace(found, state="crawling") if is_early else found

    def is_crawling(self) -> bool:
        """Whether the crawl still lists directories."""
        return self._crawl is not None and self._crawl.progress.state == "crawling"

    def _lost_track(self, source: Source) -> None:
        """Events were lost: the queue overflowed, or a filesystem was unmounted."""
        self.restart()
        self._refresher.doubt(source)

    def _restart_crawl(self, source: Source) -> None:
        """Crawl from the start; the child marks what it lists, on behalf of the daemon."""
        plan, watch = self._plan.crawls[source.rank], source.watch
        if self._crawl is not None and plan is not None:
            own = of_crawl(marks=watch.fanotify is not None)
            plan = plan._replace(identity=source.identity, budget=watch.part, capabilities=own)
            self._crawl.restart(plan._replace(fanotify=watch.fanotify, inotify=watch.inotify))
