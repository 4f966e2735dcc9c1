"""The merge: ranked trees in, one view out.

Rule 1: a directory above the depth that any source has is a merged directory; its children are the union.
Rule 2: a folder at the depth is taken whole from its winner, the first source in the view's order that has it. A folder
that is known to be empty (``--skip-empty``) wins only if all of them are empty.
Rule 3: any other entry is taken from its winner too, but a directory of any source beats a non-directory.
Rule 4: a change always moves the shown times forward, because scanners compare them.

Pure: no I/O, no clock (the time of a change is an argument). The shape of a tree tells the depth: ``Directory`` values
above it, ``Leaf`` values at it. Any thread may call this.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import is_

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.tree import Child, Directory, Entry, Leaf, Merged, Names, Rank, Trees

Group = tuple[bytes, tuple[Entry | None, ...], tuple[bytes | None, ...] | None]
"""A name of the view, the sources' entries by rank, and their own spellings if these differ."""

Pairing = Callable[[Trees, bytes], Iterable[Group]]
"""Groups the names of the directories at one path of the view, given these and the path."""

EMPTY: Mapping[bytes, Child] = {}


def exact(inputs: Trees, path: bytes = b"") -> Iterator[Group]:
    """Pair names that are equal byte for byte."""
    names: dict[bytes, None] = {}
    for directory in inputs:
        if directory is not None:
            names.update(dict.fromkeys(directory.entries))
    return _exactly(names, inputs)


def _exactly(names: Iterable[bytes], inputs: Trees) -> Iterator[Group]:
    for name in names:
        yield name, tuple([d.entries.get(name) if d is not None else None for d in inputs]), None


def merge(
    inputs: Trees,
    order: Sequence[Rank],
    pairing: Pairing = exact,
    before: Merged | None = None,
    now_ns: int = 0,
    path: bytes = b"",
    names: tuple[bytes | None, ...] | None = None,
    only: Names | None = None,
) -> Merged:
    """Merge the directories at one path; unchanged parts are shared with ``before``.

    ``order`` lists the ranks, the most preferred first. ``now_ns`` is the time to show for changes, in nanoseconds
    since the epoch. ``only``, if given, are the names that may have changed, by directory: with exact pairing, the cost
    is proportional to these.
    """
    if before is not None and all(map(is_, inputs, before.inputs)):
        return before
    some = only.get(path) if only is not None and before is not None and pairing is exact else None
    if some is None and pairing is exact and all(d is None or d.only_folders for d in inputs):
        children = _folders(inputs, order)
    else:
        old = before.children if before is not None else EMPTY
        children = dict(old) if some is not None else {}
        above = path + b"/" if path else b""
        for name, found, own in pairing(inputs, path) if some is None else _exactly(some, inputs):
            directories = tuple([entry if isinstance(entry, Directory) else None for entry in found])
            if any(directories):
                last = old.get(name)
                last = last if isinstance(last, Merged) else None
                children[name] = merge(directories, order, pairing, last, now_ns, above + name, own, only)
            elif any(found):
                children[name] = _winner(found, order, own)
            else:
                children.pop(name, None)
    return _timed(Merged(inputs, children, names), before, now_ns, some)


def _folders(inputs: Trees, order: Sequence[Rank]) -> Mapping[bytes, Child]:
    """Rule 2 for directories of non-empty folders only: a union of mappings, the winner's last."""
    present = [d.entries for d in (inputs[rank] for rank in reversed(order)) if d is not None]
    if len(present) == 1:
        return present[0]  # type: ignore[return-value]  # only_folders: the values are leaves
    union: dict[bytes, Child] = {}
    for entries in present:
        union.update(entries)  # type: ignore[arg-type]
    return union


def _winner(found: Sequence[Entry | None], order: Sequence[Rank], names: tuple[bytes | None, ...] | None) -> Leaf:
    """Rules 2 and 3, for a name that is not a merged directory."""
    ranked = [entry for entry in (found[rank] for rank in order) if isinstance(entry, Leaf)]
    folders = [leaf for leaf in ranked if leaf.kind == DIR]
    best = next((leaf for leaf in folders if not leaf.is_empty), (folders or ranked)[0])
    return Leaf(best.source, best.kind, names[best.source]) if names is not None else best


def _timed(after: Merged, before: Merged | None, now_ns: int, only: Iterable[bytes] | None) -> Merged:
    """Rule 4: the same directory, with lower bounds for the times of itself and its folders."""
    if before is None:
        return after
    differing = list(_differing(before, after, only))
    min_mtimes = {n: t for n, t in (before.min_mtimes or {}).items() if _is_folder(after.children.get(n))}
    for name, old, new in differing:
        if _is_folder(old) and _is_folder(new):
            min_mtimes[name] = max(now_ns, min_mtimes.get(name, 0) + 1)
    moved = before.min_mtime_ns
    if differing and not all(a > b for a, b in zip(times(after), times(before), strict=True)):
        moved = max(now_ns, *(t + 1 for t in times(before)))
    return Merged(after.inputs, after.children, after.names, moved, min_mtimes or None)


def _is_folder(child: Child | None) -> bool:
    return isinstance(child, Leaf) and child.kind == DIR


def times(merged: Merged) -> tuple[int, int]:
    """The (mtime, ctime) of a merged directory: the newest of all its inputs."""
    present: list[Directory] = [d for d in merged.inputs if d is not None]
    least = [merged.min_mtime_ns] if merged.min_mtime_ns or not present else []
    return (
        max([*least, *[d.attr.mtime_ns for d in present]]),
        max([*least, *[d.attr.ctime_ns for d in present]]),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """A path of the view that differs; ``before`` is None if it was created, ``after`` if it was removed.

    Two ``Merged`` mean that the directory's own attributes changed. ``attributes`` are those before and after, if the
    change is one of a single source.
    """

    path: bytes
    before: Child | None
    after: Child | None
    attributes: tuple[Attributes | None, Attributes | None] | None = None


def changes(before: Merged, after: Merged, path: bytes = b"", only: Names | None = None) -> Iterator[Change]:
    """All differences between two indexes, a directory before its entries; shared parts cost nothing.

    ``only``: see ``merge``.
    """
    if before is after:
        return
    if _own_attributes(before) != _own_attributes(after):
        yield Change(path, before, after)
    prefix = path + b"/" if path else b""
    some = only.get(path) if only is not None else None
    for name, old, new in _differing(before, after, some):
        yield Change(prefix + name, old, new)
    for name in after.children if some is None else some:
        last, child = before.children.get(name), after.children.get(name)
        if isinstance(child, Merged) and isinstance(last, Merged) and child is not last:
            yield from changes(last, child, prefix + name, only)


def left_behind(before: Merged, after: Merged) -> list[Merged]:
    """The directories of an index that are not shared with another; removed subtrees are not searched."""
    found = [(before, after)] if before is not after else []
    for old, new in found:
        for name, child in old.children.items() if old.children is not new.children else ():
            last = new.children.get(name)
            if child is not last and isinstance(child, Merged) and isinstance(last, Merged):
                found.append((child, last))
    return [old for old, _ in found]


def _differing(
    before: Merged, after: Merged, only: Iterable[bytes] | None = None
) -> Iterator[tuple[bytes, Child | None, Child | None]]:
    """The names of one directory that were created, removed or replaced; not merged directories that stayed."""
    if only is None:
        only = chain(after.children, (name for name in before.children if name not in after.children))
    for name in only:
        old, new = before.children.get(name), after.children.get(name)
        if old is not new and not (isinstance(old, Merged) and isinstance(new, Merged)) and old != new:
            yield name, old, new


def _own_attributes(merged: Merged) -> tuple[object, ...]:
    return (merged.min_mtime_ns, *[d.attr if d is not None else None for d in merged.inputs])


def without(tree: Directory, paths: Iterable[bytes]) -> Directory:
    """The tree of one source without some paths; the same tree if it has none of them.

    Their parents become unsettled, so that the next scan lists them again.
    """
    inside: dict[bytes, list[bytes]] = {}
    for path in paths:
        name, _, rest = path.partition(b"/")
        inside.setdefault(name, []).append(rest)
    entries, settled = dict(tree.entries), tree.settled
    for name, rests in inside.items():
        entry = entries.get(name)
        if entry is not None and b"" in rests:
            del entries[name]
            settled = False
        elif isinstance(entry, Directory):
            entries[name] = without(entry, rests)
    if all(entries.get(name) is tree.entries.get(name) for name in inside):
        return tree
    return replace(tree, entries=entries, settled=settled)
