"""Proving what is in merged directories: folders at the depth, and loose files above it.

Rule 1: nobody waits here, but for what was never known (``asked``). The kernel may hold the whole directory while one
lookup in it is unanswered, so what was last known answers, and is proved meanwhile: at once where the answer is in
memory, else in one of the source's threads.
Rule 2: a source that says that something is gone is believed at once, and it is reported.

Event loop's thread only.
"""

import errno
from collections.abc import Callable, Iterable, Mapping

import trio

from mmirrorfs.attributes import Attributes, Kind
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.pace import beside
from mmirrorfs.source.source import ABSENT, Source, SourceLost
from mmirrorfs.source.walks import join


class _Asking:
    """Names of one directory that a thread is to be asked about, and when all of them were."""

    def __init__(self, wanted: dict[bytes, Kind]) -> None:
        self.wanted = wanted
        self.over = trio.Event()


class Leaves:
    """Asks one source for one view. ``report_lost`` is called when it turns out to be lost; ``report_missing`` with
    paths at which nothing is any more, or something else than what was known to be there, with the types that this had
    and when that was asked.
    """

    def __init__(
        self,
        source: Source,
        known: Known,
        freshness: Freshness,
        report_lost: Callable[[Source], None],
        report_missing: Callable[[Source, Mapping[bytes, Kind], float], None],
    ) -> None:
        self.source = source
        self.known = known
        self._freshness = freshness
        self._report_lost = report_lost
        self._report_missing = report_missing
        self._asking: dict[bytes, _Asking] = {}

    def refresh(self, directory: bytes, wanted: dict[bytes, Kind]) -> set[bytes]:
        """Have the leaves in a merged directory proved, of the types that they are known by; returns what is gone.

        At once where the answer is in memory, else in one of the source's threads, while the last answers.
        """
        if self.source.lost is not None:
            self._report_lost(self.source)
            return set()
        answers = self._cached(directory, list(wanted))
        late = {name: wanted[name] for name, answer in answers.items() if isinstance(answer, BlockingIOError)}
        if late:
            self._ask(directory, late)
        found = {name: answers[name] for name in answers.keys() - late.keys()}
        return self._took(directory, wanted, found, self._freshness.clock())

    def _cached(self, directory: bytes, names: list[bytes]) -> dict[bytes, Attributes | OSError]:
        """What is in memory of them."""
        source = self.source
        try:
            if len(names) == 1:  # half the system calls, and what a lookup needs
                return {names[0]: source.cached(source.reader.stat, join(directory, names[0]))}
            found = source.cached(source.stat_several, directory, names)
            return dict(zip(names, found, strict=True))
        except OSError as error:
            return dict.fromkeys(names, error)

    def _took(
        self, directory: bytes, wanted: dict[bytes, Kind], answers: Mapping[bytes, Attributes | OSError], asked: float
    ) -> set[bytes]:
        """Take note of answers; returns what is gone, which is reported at once. An error of its own tells nothing."""
        now, gone = self._freshness.clock(), set[bytes]()
        for name, answer in answers.items():
            if isinstance(answer, Attributes) and answer.kind == wanted[name]:
                self.known.amend(directory, name, answer, now, asked)
            elif isinstance(answer, Attributes) or answer.errno in ABSENT:
                gone.add(name)
        if gone:
            self._report_missing(self.source, {join(directory, name): wanted[name] for name in gone}, asked)
        return gone

    def _ask(self, directory: bytes, wanted: dict[bytes, Kind]) -> None:
        """Have a thread ask about some names of a directory; one at a time, what comes meanwhile is asked next."""
        waiting = self._asking.get(directory)
        if waiting is not None:
            waiting.wanted.update(wanted)
            return
        self._asking[directory] = _Asking(wanted)
        beside(self._ask_until_done, directory)

    async def _ask_until_done(self, directory: bytes) -> None:
        asking = self._asking[directory]
        try:
            while wanted := asking.wanted:
                asking.wanted = {}
                asked = self._freshness.clock()
                answers = await self._answers(directory, list(wanted))
                self._took(directory, wanted, dict(zip(wanted, answers, strict=True)), asked)
        finally:
            del self._asking[directory]
            asking.over.set()

    async def asked(self, directory: bytes) -> None:
        """Until a thread has asked about all that was wanted of a directory: for as long as the source takes."""
        if directory in self._asking:
            await self._asking[directory].over.wait()

    async def _answers(self, directory: bytes, names: list[bytes]) -> Iterable[Attributes | OSError]:
        try:
            return await self.source.run(self.source.stat_several, directory, names)
        except SourceLost:
            self._report_lost(self.source)
        except OSError as error:
            return [error] * len(names)
        return [failure(errno.EIO)] * len(names)
