"""What a mounted view reports about itself: its status, the same as metrics, and why a path is shown or is not.

Rule 1: ``status`` and ``metrics`` are for every user who may enter the view. Options, log and last changed path go over
the control socket only.
Rule 2: calls that walk all folders run in a thread, one at a time.

Event loop's thread only.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

from mmirrorfs.mount import log as logs
from mmirrorfs.mount.control import paths_in
from mmirrorfs.mount.controlclient import Values
from mmirrorfs.mount.plan import Plan
from mmirrorfs.mount.sourcetasks import SourceTasks
from mmirrorfs.serve.changelog import Changelog
from mmirrorfs.serve.explain import Explainer
from mmirrorfs.serve.metrics import exposition
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.serve.status import counted, status, summary
from mmirrorfs.source.threads import NoThread, threaded
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.view import View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Introspection:
    """Reports on one view. ``tasks`` are by source rank; ``counters`` returns more fields of the status.

    ``started`` is when it was created: about the start of the process, in seconds since the epoch.
    """

    plan: Plan
    view: View
    directories: Directories
    refresher: Refresher
    tasks: Sequence[SourceTasks]
    changelog: Changelog
    explainer: Explainer
    counters: Callable[[], Values]
    started: float = field(default_factory=time.time)
    _counting: trio.CapacityLimiter = field(default_factory=partial(trio.CapacityLimiter, 1))

    async def answer(self, query: Values) -> Values | None:
        """Answer a query from the control socket: "status", or "explain" with paths. None for any other."""
        if query.get("ask") == "status":
            own = {"options": self.plan.shown_options, "log": logs.place(), "warnings": logs.warnings()}
            return {**await self.status(), "last_change": self.changelog.last, **own}
        if query.get("ask") == "explain":
            return await self.explainer.explain(paths_in(query))
        return None

    async def status(self) -> Values:
        """The status for monitoring: see ``serve.status``."""
        crawls, watches = [task.progress() for task in self.tasks], [task.watch.now() for task in self.tasks]
        trees = [known.tree for known in self.view.known]
        counts = await self._count(partial(counted, self.view.inodes.index, trees))
        found = status(self.view, self.directories, self.refresher, crawls, watches, counts)
        last = self.changelog.last
        changes = {"changes": self.changelog.count, "changed": last["when"] if last is not None else None}
        return {"started": self.started, **found, **self.counters(), **changes}

    async def metrics(self) -> str:
        """The status in Prometheus's text format."""
        return exposition([(self.plan.mountpoint, await self.status())])

    async def summary(self) -> str:
        """The status in one line."""
        return await self._count(partial(summary, self.view, self.refresher))

    async def _count(self, call: Callable[[], T]) -> T:
        """Run it in a thread, or here if no thread can be started."""
        try:
            return await threaded(call, self._counting)
        except NoThread:
            return call()
