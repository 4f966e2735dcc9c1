"""The journal's own protocol, as its documentation has it."""

import struct


def parsed(datagram: bytes) -> dict[str, str]:
    """The fields of an entry, as the journal's documentation has them."""
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
