"""Extended attributes and links' targets of one source, as they were asked for. Event loop's thread only; no I/O."""

from collections.abc import Iterable

Value = bytes | int
"""An extended attribute or a link's target; or the errno that says why there is none."""


class Values:
    """By path, and by the name of the attribute; b"" is that of a link's target."""

    def __init__(self) -> None:
        self._values: dict[bytes, dict[bytes, tuple[Value, float]]] = {}

    def get(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """One, and when that was so."""
        values = self._values.get(path)
        return values.get(name) if values is not None else None

    def note(self, path: bytes, name: bytes, value: Value, when: float) -> int:
        """One was asked for; returns how many more there are now."""
        values = self._values.pop(path, {})
        self._values[path] = {**values, name: (value, when)}
        return int(name not in values)

    def forget(self, paths: Iterable[bytes]) -> int:
        """Forget those of some paths; returns how many there were."""
        return sum(len(self._values.pop(path, ())) for path in paths) if self._values else 0

    def oldest(self) -> list[bytes]:
        """The path of which something was noted longest ago; none where there is nothing."""
        return [next(iter(self._values))] if self._values else []

    def __len__(self) -> int:
        return sum(map(len, self._values.values()))
