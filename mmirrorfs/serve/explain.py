"""Why a path of the view, or of a source, is shown or is not: an answer as values for JSON.

An answer has ``path``, ``view`` (the mountpoint) and ``state``:

- "shown", or "hidden": another source's entry is shown in its place, or in that of its folder;
- "excluded" (--exclude) or "link" (down to the depth links are left out, and never followed);
- "unseen": a source has it, and was not scanned since; "lost": a lost source had it, and counts as empty;
- "unknown" if that cannot be found out now; "absent" if no source has it, or had it when it was last seen.

``at`` is that path in the view, or its nearest ancestor there; ``role``, ``rule`` and ``sources`` say what that is and
why. ``hides`` is what else the sources have at the path; ``skips`` what would have won, but is empty. ``notes`` are
remarks, each with the subject ``about``: see ``serve.probe``. Paths are in the form of ``text.json_path``.

Event loop's thread only, except where noted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.explain import (
    Claim,
    Place,
    elsewhere,
    in_view,
    nearest,
    place_of,
    spellings,
    unreadable,
)
from mmirrorfs.plan.namesakes import Namesake, namesakes
from mmirrorfs.serve.probe import Choices, Finding, Probe
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.source.crawler import Progress
from mmirrorfs.source.source import Source
from mmirrorfs.source.threads import threaded
from mmirrorfs.text import json_path, whole_text
from mmirrorfs.tree import Leaf, Merged, Rank, join
from mmirrorfs.view.view import View

Values = dict[str, Any]

_PRECEDENCE = ("excluded", "link", "lost", "unseen", "unknown", "absent")
"""The states in order of precedence, if several sources give different ones."""
SEARCH_TIME = 4.0
"""Seconds for the search of similar names: among 100,000 in one directory it takes three or four."""


@dataclass(slots=True)
class _Query:
    """A query: an absolute path, and ``own``, its path in the view or, with ``rank``, in that source."""

    path: bytes
    own: bytes
    rank: Rank | None = None

    def is_of(self, claim: Claim) -> bool:
        """Whether it is about this claim, in the source's own spelling."""
        return (self.rank, self.own) == (claim.rank, claim.path)


@dataclass(slots=True)
class _Answer:
    """The answer so far."""

    state: str
    shown: list[Claim]
    hides: list[Claim]
    role: str
    at: bytes
    notes: list[Values] = field(default_factory=list)

    def note(self, notes: Sequence[Values]) -> None:
        """Add notes, without duplicates."""
        self.notes += [note for note in notes if note not in self.notes]


class Explainer:
    """Answers queries about one view, which is mounted on ``mountpoint``."""

    def __init__(
        self,
        view: View,
        mountpoint: bytes,
        refresher: Refresher,
        progress: Callable[[Source], Progress],
        choices: Choices,
    ) -> None:
        self._view = view
        self._mountpoint = mountpoint
        self._match = choices.match
        self._probe = Probe(view, refresher, progress, choices)

    async def explain(self, paths: Sequence[bytes]) -> Values | None:
        """The answer for the first of some absolute paths that is in the view or in a source; None if none is."""
        query = next(filter(None, map(self._query, paths)), None)
        return await self._answer(query) if query is not None else None

    async def outline(self, source_path: bytes) -> Values:
        """The answer for a path of the view, without notes: for anybody who can reach the path."""
        return {**await self._answer(_Query(join(self._mountpoint, source_path), source_path)), "notes": []}

    def _query(self, path: bytes) -> _Query | None:
        source_path = _inside(path, self._mountpoint)
        if source_path is not None:
            return _Query(path, source_path)
        roots = {(root, source.rank) for source in self._view.sources for root in (source.root, source.path)}
        for root, rank in sorted(roots, reverse=True):  # the innermost first
            own = _inside(path, root)
            if own is not None:
                return _Query(path, own, rank)
        return None

    async def _answer(self, query: _Query) -> Values:
        place, spelled = await threaded(partial(self._place, query))
        if place.rest and isinstance(place.found, Merged):
            answer = await self._answer_missing(query, place, place.found)
        elif place.rest and isinstance(place.found, Leaf):
            answer = await self._answer_inside(query, place, place.found)
        else:
            answer = await self._answer_indexed(query, place)
        if spelled is not None:
            answer.note([{"about": "spelled", **self._in_view(spelled)}])
        return self._values(query, place, answer)

    def _place(self, query: _Query) -> tuple[Place, bytes | None]:
        """The place, and where it is shown if the query has the spelling of a source. Any thread may call this."""
        index, order, pairing = self._view.inodes.index, self._view.inodes.order, self._view.pairing
        if query.rank is not None:
            return place_of(index, order, pairing, in_view(index, pairing, query.rank, query.own)), None
        place, spelled = place_of(index, order, pairing, query.own), None
        while isinstance(place.found, Merged) and place.rest:
            name, _, rest = place.rest.partition(b"/")
            found = spellings(place.found, place.path, pairing, name)
            if not found:
                break
            spelled = b"/".join(filter(None, [place.path, found[0], rest]))
            place = place_of(index, order, pairing, spelled)
        return place, spelled

    def _values(self, query: _Query, place: Place, answer: _Answer) -> Values:
        ranks = {claim.rank for claim in place.claims} | ({query.rank} if query.rank is not None else set())
        if answer.state in ("unknown", "lost", "absent"):
            ranks |= {source.rank for source in self._view.sources}
        for rank in sorted(ranks):
            answer.note(self._probe.health(rank))
        return {
            **json_path(query.path),
            "view": json_path(self._mountpoint),
            "state": answer.state,
            "at": self._in_view(answer.at),
            "role": answer.role,
            "rule": place.rule.value,
            "sources": [self._probe.place(claim.rank, claim.path) for claim in answer.shown],
            "hides": [self._probe.place(claim.rank, claim.path) for claim in answer.hides],
            "skips": [self._probe.place(claim.rank, claim.path) for claim in place.skipped],
            "notes": answer.notes,
        }

    def _in_view(self, path: bytes) -> dict[str, str]:
        return json_path(join(self._mountpoint, path) if path else self._mountpoint)

    def _shown_at(self, rank: Rank, own: bytes) -> bytes | None:
        """The path in the view of an entry of a source, or of what hides it, if indexed. Any thread may call this."""
        index, order, pairing = self._view.inodes.index, self._view.inodes.order, self._view.pairing
        path = in_view(index, pairing, rank, own)
        place = place_of(index, order, pairing, path)
        if place.rest and isinstance(place.found, Merged):
            return None
        return path if (rank, own) in [(claim.rank, place.inside(claim)) for claim in place.claims] else None

    # Paths in the index

    async def _answer_indexed(self, query: _Query, place: Place) -> _Answer:
        """Answer for a path that is in the index."""
        found = place.found
        role = "merged" if isinstance(found, Merged) else "folder" if found.kind == DIR else "loose"
        answer = _Answer("shown", place.shown, place.hidden, role, place.path)
        if isinstance(found, Merged):
            self._note_unreadable(answer, found)
        elif found.kind == DIR:
            answer.note(await self._probe.listed(place.shown[0].rank, place.shown[0].path))
        else:
            answer.note(self._probe.opened(place.shown[0].rank, place.shown[0].path))
        if query.rank is not None and not any(map(query.is_of, place.shown)):
            answer.state = "hidden"
            if not any(map(query.is_of, place.claims)):
                answer.state = self._state_of(answer, query.rank, await self._probe.find(query.rank, query.own))
        elif place.above is not None:
            await self._note_namesakes(answer, place, place.above)
        return answer

    async def _answer_inside(self, query: _Query, place: Place, leaf: Leaf) -> _Answer:
        """Answer for a path in a leaf: its winner's if it is a folder; else there is nothing."""
        (winner,), folders = place.shown, [claim for claim in place.hidden if claim.kind == DIR]
        answer = _Answer("", place.shown, [], "folder" if leaf.kind == DIR else "loose", place.path)
        if leaf.kind != DIR:
            answer.note([{"about": "file", **self._in_view(place.path)}])
        own = place.inside(winner)
        found = await self._probe.find(winner.rank, own, winner.path)
        inside = Claim(winner.rank, own, leaf.kind, True)
        if found.state == "there":
            answer.shown, answer.hides, answer.role = [inside], folders, "inside"
            answer.at = join(place.path, place.rest)
            answer.note(self._probe.opened(winner.rank, own))
        if query.rank is None or query.is_of(inside):
            answer.state = "shown" if found.state == "there" else self._state_of(answer, winner.rank, found)
            if query.rank is None and answer.state in ("absent", "unknown"):
                answer.hides = await self._claims_with(folders, place)
                answer.state = "hidden" if answer.hides and answer.state == "absent" else answer.state
        else:
            other = await self._probe.find(query.rank, query.own)
            answer.state = "hidden" if other.state == "there" else self._state_of(answer, query.rank, other)
        if answer.state in ("absent", "unknown"):
            self._suggest_inside(answer, winner, place)
        return answer

    async def _claims_with(self, folders: list[Claim], place: Place) -> list[Claim]:
        """The claims of those of other sources' folders that have it."""
        found = []
        for claim in folders:
            path = place.inside(claim)
            if (await self._probe.find(claim.rank, path, claim.path)).state == "there":
                found.append(Claim(claim.rank, path, claim.kind, False))
        return found

    # Paths that are not in the index

    async def _answer_missing(self, query: _Query, place: Place, merged: Merged) -> _Answer:
        """Answer for a path that a merged directory does not have."""
        answer = _Answer("", place.shown, [], "merged", place.path)
        ranks = [source.rank for source in self._view.sources] if query.rank is None else [query.rank]
        states: list[str] = []
        for rank in ranks:
            above = place.path_in(rank)
            path = query.own if query.rank is not None else join(above if above is not None else place.path, place.rest)
            found = await self._probe.find(rank, path, above if query.rank is None and above is not None else b"")
            shown_at = await threaded(partial(self._shown_at, rank, path)) if found.state == "there" else None
            if shown_at is not None:
                answer.note([{"about": "spelled", **self._in_view(shown_at)}])
                continue
            states.append(self._state_of(answer, rank, found))
            if found.there:
                answer.hides.append(Claim(rank, path, DIR, False))
        self._note_unreadable(answer, merged)
        answer.state = min(states, key=_PRECEDENCE.index, default="absent")
        if answer.state == "absent" and any(note["about"] == "unreadable" for note in answer.notes):
            answer.state = "unknown"
        if answer.state in ("absent", "unknown"):
            await self._suggest(answer, place, merged)
        return answer

    def _state_of(self, answer: _Answer, rank: Rank, found: Finding) -> str:
        """The state by a source that does not win, or whose entry is not in the index; adds its notes."""
        answer.note(found.notes)
        if found.state != "there":
            return found.state
        if self._view.sources[rank].lost is not None:
            return "lost"
        answer.note([{"about": "unseen", **self._probe.place(rank, b""), "scanned": self._probe.scanned(rank)}])
        return "unseen"

    # Notes

    def _note_unreadable(self, answer: _Answer, merged: Merged) -> None:
        for rank, directory in unreadable(merged):
            path = next(claim.path for claim in answer.shown if claim.rank == rank)
            answer.note([self._probe.unreadable(rank, path, directory.errno, self._probe.when(directory.since))])

    async def _note_namesakes(self, answer: _Answer, place: Place, above: Merged) -> None:
        above_path, _, name = place.path.rpartition(b"/")
        found: list[Namesake] = []
        with trio.move_on_after(SEARCH_TIME):
            found = await threaded(partial(namesakes, above.inputs, above_path, name, self._match))
        answer.note(
            [
                {
                    "about": "namesake",
                    **self._in_view(join(above_path, one.name)),
                    "sources": [self._view.sources[rank].name for rank in one.have],
                    "rule": one.rule,
                    "advice": whole_text(one.advice),
                }
                for one in found
            ]
        )

    async def _suggest(self, answer: _Answer, place: Place, merged: Merged) -> None:
        name, _, rest = place.rest.partition(b"/")
        with trio.move_on_after(SEARCH_TIME):
            self._note_paths(answer, "nearest", place.path, await threaded(partial(nearest, name, merged.children)))
        if not rest:
            self._note_paths(answer, "elsewhere", b"", elsewhere(self._view.inodes.index, name))

    def _suggest_inside(self, answer: _Answer, winner: Claim, place: Place) -> None:
        """Suggest names near the first one of the path that is not in the cached listings."""
        known, own, path = self._view.known[winner.rank], winner.path, place.path
        for name in place.rest.split(b"/"):
            listing = known.listing(own)
            if listing is None:
                return
            if listing.get(name) is None:
                self._note_paths(answer, "nearest", path, nearest(name, listing.names()))
                return
            own, path = join(own, name), join(path, name)

    def _note_paths(self, answer: _Answer, about: str, above: bytes, names: list[bytes]) -> None:
        if names:
            answer.note([{"about": about, "paths": [self._in_view(join(above, name)) for name in names]}])


def _inside(path: bytes, directory: bytes) -> bytes | None:
    """The path relative to a directory; None if it is not in there."""
    if path == directory:
        return b""
    prefix = directory.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None
