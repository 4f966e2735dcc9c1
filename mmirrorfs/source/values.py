"""What was asked for of single files: extended attributes and the targets of links.

Event loop's thread only; no I/O."""

from collections.abc import Iterable

Value = bytes | int
"""An extended attribute or a link's target; or the errno that says why there is none."""


class Values:
    """Values by path and name, each with the monotonic time at which it was so; the one noted last comes last."""

    def __init__(self) -> None:
        self._of: dict[bytes, dict[bytes, tuple[Value, float]]] = {}

    def get(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """An extended attribute, or under the name b"" a link's target; and when that was so."""
        values = self._of.get(path)
        return values.get(name) if values is not None else None

    def note(self, path: bytes, name: bytes, value: Value, when: float) -> int:
        """A value was asked for; returns how many more there are by that."""
        values = self._of.pop(path, {})
        self._of[path] = {**values, name: (value, when)}
        return int(name not in values)

    def forget(self, paths: Iterable[bytes]) -> int:
        """Forget those of some paths; returns how many that were."""
        return sum(len(self._of.pop(path, ())) for path in paths)

    def drop(self) -> int:
        """Forget those of the path that was noted longest ago; returns how many that were."""
        return self.forget([next(iter(self._of))]) if self._of else 0

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))
