"""The unique id of a mount: never given out again, as all others are at once.

From statx(2), STATX_MNT_ID_UNIQUE, since Linux 6.8.
"""

import contextlib
import ctypes
import struct

_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x1000, 0x4000
_STATX_MNT_ID_UNIQUE = 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


def unique_id(descriptor: int) -> int:
    """That of the mount that it is on; 0 where the kernel or the C library knows none. Sends no request."""
    answer = ctypes.create_string_buffer(256)
    with contextlib.suppress(AttributeError):
        flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
        if _libc.statx(descriptor, b"", flags, _STATX_MNT_ID_UNIQUE, answer) == 0:
            (mask,) = struct.unpack_from("=I", answer)
            return int(struct.unpack_from("=Q", answer, 0x90)[0]) if mask & _STATX_MNT_ID_UNIQUE else 0
    return 0
