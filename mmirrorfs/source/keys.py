"""What directories are called where their changes are reported. Event loop's thread only; no I/O."""


class Keys(dict[bytes, bytes]):
    """The path of a directory by its key; several where it is mounted a second time, or is being renamed."""

    def __init__(self) -> None:
        super().__init__()
        self._others: dict[bytes, list[bytes]] = {}

    def paths(self, key: bytes) -> list[bytes]:
        """All paths of a key."""
        path = self.get(key)
        return [path, *self._others.get(key, ())] if path is not None else []

    def add(self, key: bytes, path: bytes) -> None:
        """Note a path, which the key does not have yet or as its first one."""
        if self.setdefault(key, path) != path:
            self._others.setdefault(key, []).append(path)

    def release(self, key: bytes, path: bytes) -> None:
        """Take a path away that was noted."""
        others = self._others.pop(key, [])
        if self[key] != path:
            others.remove(path)
        elif others:
            self[key] = others.pop(0)
        else:
            del self[key]
        if others:
            self._others[key] = others
