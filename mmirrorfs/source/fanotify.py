"""One fanotify(7) group: what happens in whole filesystems, as directory and name."""

import ctypes
import os
import struct
from collections.abc import Container
from typing import Final

from mmirrorfs.source.events import CHANGES, ONDIR, OVERFLOW, Event

_FAN_CLASS_NOTIF: Final = 0x0
_FAN_CLOEXEC: Final = 0x1
_FAN_NONBLOCK: Final = 0x2
_FAN_REPORT_DIR_FID: Final = 0x400
_FAN_REPORT_NAME: Final = 0x800
_FAN_MARK_ADD: Final = 0x1
_FAN_MARK_REMOVE: Final = 0x2
_FAN_MARK_FILESYSTEM: Final = 0x100
_INIT: Final = _FAN_CLASS_NOTIF | _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_REPORT_DIR_FID | _FAN_REPORT_NAME

_HEAD: Final = struct.Struct("=I4xQ20xI")
"""event_len and mask of fanotify_event_metadata, and handle_bytes of the fanotify_event_info_fid behind it."""
_KEY: Final = 28
"""Where the fsid begins in an event."""
_HANDLE: Final = 44
"""Where the handle begins in an event."""
_PADDING: Final = bytes(_HEAD.size)
"""Behind the last event: an overflow has no info record, and is shorter than what is unpacked."""
PIECE: Final = 1 << 16
MOST: Final = 1 << 18
"""Bytes that are read at once, and by one call of ``events``."""

_libc = ctypes.CDLL(None, use_errno=True)
_fanotify_mark = _libc.fanotify_mark
_fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


class FilesystemMarks:
    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _group() if descriptor is None else descriptor
        self.more = False

    def close(self) -> None:
        os.close(self.descriptor)

    def mark(self, fd: int) -> None:
        self._change(_FAN_MARK_ADD, fd)

    def unmark(self, fd: int) -> None:
        self._change(_FAN_MARK_REMOVE, fd)

    def _change(self, how: int, fd: int) -> None:
        if _fanotify_mark(self.descriptor, how | _FAN_MARK_FILESYSTEM, CHANGES | ONDIR, fd, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def events(self, wanted: Container[bytes]) -> list[Event]:
        found: list[Event] = []
        left = MOST
        self.more = True
        while left > 0:
            try:
                data = os.read(self.descriptor, PIECE)
            except BlockingIOError:
                self.more = False
                break
            left -= PIECE
            _take(data, wanted, found)
        return found


def _group() -> int:
    fd: int = _libc.fanotify_init(_INIT, os.O_RDONLY)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def _take(data: bytes, wanted: Container[bytes], found: list[Event]) -> None:
    at, end = 0, len(data)
    data += _PADDING
    head = _HEAD.unpack_from
    while at < end:
        size, mask, handle = head(data, at)
        key = data[at + _KEY : at + _HANDLE + handle]
        if key in wanted:
            found.append(Event(mask, key, _name(data[at + _HANDLE + handle : at + size])))
        elif mask & OVERFLOW:
            found.append(Event(OVERFLOW, b"", b""))
        at += size


def _name(field: bytes) -> bytes:
    name = field.partition(b"\0")[0]
    return b"" if name == b"." else name
