"""systemd's native journal protocol."""

import struct


def parsed(datagram: bytes) -> dict[str, str]:
    """The fields of an entry."""
    found: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[9 + size :]
            assert datagram[len(line) + 9 + size : len(line) + 10 + size] == b"\n"
        found[name.decode()] = value.decode()
        datagram = rest
    return found
