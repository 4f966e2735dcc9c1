"""A reference implementation of the merge with ``--followsymlinks``. Imports nothing of mmirrorfs.

1. A link counts as its target, at every level.
2. A link to a directory that contains it, a dangling link, and a link to or into a view is not followed: it is left out
   down to the depth, and shown as a link below it.
"""

import os
import stat
from collections.abc import Collection, Sequence

from tests.support.model import Shown, look

At = tuple[bytes, bytes]
"""A source's root, and a path in it."""


def predict(order: Sequence[bytes], depth: int, views: Collection[bytes] = ()) -> dict[bytes, Shown]:
    """All that a view must show, by path. ``order`` has the sources, the preferred one first."""
    found: dict[bytes, Shown] = {}
    _merge(found, b"", [(root, b"") for root in order], depth, views)
    return found


def _merge(found: dict[bytes, Shown], prefix: bytes, places: list[At], depth: int, views: Collection[bytes]) -> None:
    for name in {name for root, path in places for name in os.listdir(root + b"/" + path)}:
        inner = [(root, _join(path, name)) for root, path in places if os.path.lexists(_whole(root, _join(path, name)))]
        kinds = [(at, target_of(at, views)) for at in inner]
        present = [(at, shown) for at, shown in kinds if shown is not None]
        below = [(at, shown) for at, shown in present if shown.kind == stat.S_IFDIR]
        path = _join(prefix, name)
        if below and depth > 1:
            found[path] = Shown(stat.S_IFDIR)
            _merge(found, path, [at for at, _ in below], depth - 1, views)
        elif present:
            at, found[path] = (below or present)[0]
            if found[path].kind == stat.S_IFDIR:
                _take(found, path, at, views)


def _take(found: dict[bytes, Shown], prefix: bytes, at: At, views: Collection[bytes]) -> None:
    root, path = at
    for name in os.listdir(_whole(root, path)):
        inner = (root, _join(path, name))
        shown = target_of(inner, views) or look(_whole(*inner))
        found[_join(prefix, name)] = shown
        if shown.kind == stat.S_IFDIR:
            _take(found, _join(prefix, name), inner, views)


def target_of(at: At, views: Collection[bytes]) -> Shown | None:
    """What a path of a source is shown as; None for a link that is not followed."""
    whole = _whole(*at)
    if not os.path.islink(whole):
        return look(whole)
    real = os.path.realpath(whole)
    if any(real == view or real.startswith(view + b"/") for view in views) or not os.path.exists(real):
        return None
    parts = at[1].split(b"/")
    above = {os.path.realpath(_whole(at[0], b"/".join(parts[:count]))) for count in range(len(parts))}
    return None if real in above else look(real)


def _whole(root: bytes, path: bytes) -> bytes:
    return _join(root, path) if path else root


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
