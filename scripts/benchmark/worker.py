"""One worker: a process that does one kind of work when told to, and says when it began and ended.

It reads a job (one line of JSON), prepares, says that it is ready, and then works once for each further line.
Each answer is one line of JSON; ``start`` and ``end`` are of the monotonic clock, in ns, which all processes share.
Standard library only, so that it starts without a site-packages; only the kinds of work are here, no judgement.
"""

import ctypes
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping

Result = dict[str, float]
Work = Callable[[], Result]

TAG = 4096
"""Bytes of a file that a tag scan reads."""


def walk(top: str, follow: bool, part: int, parts: int) -> Work:
    """List every directory and lstat every entry, as ``find -ls`` does; of the topmost entries every ``parts``-th."""

    def work() -> Result:
        entries = 0
        with os.scandir(top) as listing:
            names = sorted(entry.name for entry in listing)
        stack: list[tuple[str, list[str] | None]] = [(top, names[part::parts])]
        while stack:
            path, names_in_it = stack.pop()
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            for name in os.listdir(descriptor) if names_in_it is None else names_in_it:
                entries += 1
                mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                if follow and stat.S_ISLNK(mode):
                    mode = os.stat(name, dir_fd=descriptor).st_mode
                if stat.S_ISDIR(mode):
                    stack.append((f"{path}/{name}", None))
            os.close(descriptor)
        return {"amount": entries}

    return work


def tags(paths: list[str]) -> Work:
    """Open each file, read its beginning, close it."""

    def work() -> Result:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            if not os.read(descriptor, TAG):
                raise ValueError(f"{path} is empty")
            os.close(descriptor)
        return {"amount": len(paths)}

    return work


def read(path: str, block: int, offsets: list[int], forget: bool) -> Work:
    """Read ``block`` bytes at each offset; ``forget`` first drops what the page cache holds of this very path."""
    buffer = bytearray(block)
    if forget:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)

    def work() -> Result:
        descriptor = os.open(path, os.O_RDONLY)
        got = sum(os.preadv(descriptor, [buffer], offset) for offset in offsets)
        os.close(descriptor)
        return {"amount": got / 1e6}

    return work


def missing(paths: list[str]) -> Work:
    """Look up names that are not there."""

    def work() -> Result:
        for path in paths:
            if os.access(path, os.F_OK):
                raise ValueError(f"{path} should not be there")
        return {"amount": len(paths)}

    return work


def usable(mountpoint: str, seconds: float) -> Work:
    """Wait until something is mounted there and has answered a lookup; a listing would make lookups warm."""

    def work() -> Result:
        before, deadline = os.stat(os.path.dirname(mountpoint)).st_dev, time.monotonic() + seconds
        while time.monotonic() < deadline:
            if os.stat(mountpoint).st_dev != before and not os.access(f"{mountpoint}/no such name", os.F_OK):
                return {"amount": 1}
            time.sleep(0.0005)
        raise TimeoutError(f"not within {seconds:g} s")

    return work


def latency(directories: list[str]) -> Work:
    """Look up, open and list each of these directories; the median of each step, in seconds."""

    def median_of(step: Callable[[str], object]) -> float:
        taken = []
        for path in directories:
            started = time.perf_counter()
            step(path)
            taken.append(time.perf_counter() - started)
        return sorted(taken)[len(taken) // 2]

    def opened(path: str) -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    return lambda: {"lookup": median_of(os.lstat), "open": median_of(opened), "list": median_of(os.listdir)}


def listing(path: str) -> Work:
    """List one directory."""
    return lambda: {"amount": len(os.listdir(path))}


def pauses(path: str) -> Work:
    """Stat one file as fast as it goes until SIGUSR1 comes; the longest that one took, in seconds.

    statx(2) with AT_STATX_FORCE_SYNC: an ordinary stat would be answered by the kernel, not by the daemon.
    """
    statx, buffer, name = ctypes.CDLL(None, use_errno=True).statx, ctypes.create_string_buffer(256), os.fsencode(path)
    going = True

    def stop(number: int, frame: object) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGUSR1, stop)

    def work() -> Result:
        longest, count, last = 0.0, 0, time.perf_counter()
        while going:
            if statx(-100, name, 0x2000, 0x7FF, buffer) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
            now = time.perf_counter()
            longest, last, count = max(longest, now - last), now, count + 1
        return {"amount": count, "longest": longest}

    return work


KINDS: dict[str, Callable[..., Work]] = {
    kind.__name__: kind for kind in (walk, tags, read, missing, usable, latency, listing, pauses)
}


def serve(kinds: Mapping[str, Callable[..., Work]]) -> None:
    """Take a job from standard input, and do it as often as asked."""
    try:
        job = json.loads(sys.stdin.readline())
        work = kinds[job.pop("kind")](**job)
        _say({"ready": 1})
        while sys.stdin.readline():
            start = time.monotonic_ns()
            result = work()
            _say({"start": start, "end": time.monotonic_ns(), **result})
    except Exception as error:  # the other side decides what it means
        _say({"error": f"{type(error).__name__}: {error}"})


def _say(what: Mapping[str, object]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    serve(KINDS)
