"""Translates changes in one source to changes in the view: none, where another source's folder is shown.

Pure: no I/O, no clock. Any thread may call this.
"""

from collections.abc import Iterable, Iterator

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.difference import Difference
from mmirrorfs.merge.index import Change
from mmirrorfs.tree import Child, Leaf, Merged, Rank, join


def seen(index: Merged, rank: Rank, directory: bytes, differences: Iterable[Difference]) -> Iterator[Change]:
    """The changes in the view, given the differences in a directory of a source.

    In a merged directory these are changed attributes only: ``index.changes`` has the created and removed names.
    """
    path, place = shown(index, rank, directory)
    if path is None:
        return
    for name, before, after in differences:
        if place is None:
            yield Change(join(path, name), _leaf(rank, before), _leaf(rank, after), (before, after))
        elif before is not None and after is not None and before.kind == after.kind:
            own = _name(place, rank, name)
            child = place.children.get(own) if own is not None else None
            if isinstance(child, Leaf) and child.source == rank:
                yield Change(join(path, own or name), child, child, (before, after))


def shown(index: Merged, rank: Rank, path: bytes) -> tuple[bytes | None, Merged | None]:
    """The path in the view of a directory of a source, None if it is not shown; and its merged directory, None below
    the depth.
    """
    place, above = index, b""
    parts = path.split(b"/") if path else []
    for position, part in enumerate(parts):
        name = _name(place, rank, part)
        child = place.children.get(name) if name is not None else None
        if name is None or child is None:
            return None, None
        above = join(above, name)
        if isinstance(child, Leaf):
            is_shown = child.source == rank and child.kind == DIR
            return (b"/".join([above, *parts[position + 1 :]]) if is_shown else None), None
        place = child
    return above, place


def _name(place: Merged, rank: Rank, own: bytes) -> bytes | None:
    """The name in the view of a source's entry in a merged directory; None if it is not shown."""
    child = place.children.get(own)
    if child is not None and _own(own, child, rank) == own:
        return own
    return next((name for name, child in place.children.items() if _own(name, child, rank) == own), None)


def _own(name: bytes, child: Child, rank: Rank) -> bytes | None:
    """A source's spelling of an entry of the view; None if it is not from that source."""
    if isinstance(child, Leaf):
        return (child.name or name) if child.source == rank else None
    if child.inputs[rank] is None:
        return None
    return (child.names[rank] if child.names is not None else None) or name


def _leaf(rank: Rank, attr: Attributes | None) -> Leaf | None:
    return Leaf(rank, attr.kind) if attr is not None else None
