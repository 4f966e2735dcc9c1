"""What a change in one source changes in the view: nothing, where another source's folder is shown.

Pure: no I/O, no clock. Any thread may call this.
"""

from collections.abc import Iterable, Iterator

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.difference import Difference
from mmirrorfs.merge.index import Change
from mmirrorfs.tree import Child, Leaf, Merged, Rank


def seen(index: Merged, rank: Rank, directory: bytes, differences: Iterable[Difference]) -> Iterator[Change]:
    """What some differences in a directory of a source are in the view.

    In a merged directory, what came and went is the merge's own, and told by ``index.changes``: of what is in there
    only other attributes of what is shown are a change.
    """
    path, place = shown(index, rank, directory)
    if path is None:
        return
    for name, before, after in differences:
        if place is None:
            yield Change(_joined(path, name), _leaf(rank, before), _leaf(rank, after), (before, after))
        elif before is not None and after is not None and before.kind == after.kind:
            own = _name(place, rank, name)
            child = place.children.get(own) if own is not None else None
            if isinstance(child, Leaf) and child.source == rank:
                yield Change(_joined(path, own or name), child, child, (before, after))


def shown(index: Merged, rank: Rank, path: bytes) -> tuple[bytes | None, Merged | None]:
    """The path in the view of a directory of a source, None where it is not shown; and the merged directory it is in
    there, None below the depth.
    """
    place, above = index, b""
    parts = path.split(b"/") if path else []
    for position, part in enumerate(parts):
        name = _name(place, rank, part)
        child = place.children.get(name) if name is not None else None
        if name is None or child is None:
            return None, None
        above = _joined(above, name)
        if isinstance(child, Leaf):
            is_shown = child.source == rank and child.kind == DIR
            return (b"/".join([above, *parts[position + 1 :]]) if is_shown else None), None
        place = child
    return above, place


def _name(place: Merged, rank: Rank, own: bytes) -> bytes | None:
    """The name in the view of what a source has in a merged directory; None where that is not shown."""
    child = place.children.get(own)
    if child is not None and _own(own, child, rank) == own:
        return own
    return next((name for name, child in place.children.items() if _own(name, child, rank) == own), None)


def _own(name: bytes, child: Child, rank: Rank) -> bytes | None:
    """How a source spells the name of an entry; None where it is not from there."""
    if isinstance(child, Leaf):
        return (child.name or name) if child.source == rank else None
    if child.inputs[rank] is None:
        return None
    return (child.names[rank] if child.names is not None else None) or name


def _leaf(rank: Rank, attr: Attributes | None) -> Leaf | None:
    return Leaf(rank, attr.kind) if attr is not None else None


def _joined(above: bytes, name: bytes) -> bytes:
    return above + b"/" + name if above else name
