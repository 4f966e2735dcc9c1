"""One worker: a process that does one kind of work on request, and reports when it began and ended.

It reads a job (one line of JSON), prepares, reports that it is ready, and then works once per further line. Each answer
is one line of JSON; ``start`` and ``end`` are from the monotonic clock, in ns, which all processes share. It needs the
standard library only (but for mutagen), so that it starts without site-packages, and evaluates nothing.
"""

import ctypes
import importlib
import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping

Result = dict[str, float]
Work = Callable[[], Result]

TAG = 4096
"""Bytes that a tag scan reads of each file."""
DAY = 86400


def walk(top: str, follow: bool, part: int, parts: int) -> Work:
    """List every directory and lstat every entry, as ``find -ls`` does; only every ``parts``-th topmost entry."""

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


def tags(paths: list[str], prepared: bool = False) -> Work:
    """Open each file, read its beginning, close it; with ``prepared``, once before the measurement."""

    def work() -> Result:
        for path in paths:
            _beginning(path)
        return {"amount": len(paths)}

    if prepared:
        work()
    return work


def _beginning(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    if not os.read(descriptor, TAG):
        raise ValueError(f"{path} is empty")
    os.close(descriptor)


def read(path: str, block: int, offsets: list[int], forget: bool) -> Work:
    """Read ``block`` bytes at each offset; ``forget`` first drops the pages of this path from the cache."""
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
    """Look up missing names."""

    def work() -> Result:
        for path in paths:
            if os.access(path, os.F_OK):
                raise ValueError(f"{path} should not be there")
        return {"amount": len(paths)}

    return work


def usable(mountpoint: str, seconds: float) -> Work:
    """Wait until a mount there has answered a lookup; a listing would warm the cache."""

    def work() -> Result:
        before, deadline = os.stat(os.path.dirname(mountpoint)).st_dev, time.monotonic() + seconds
        while time.monotonic() < deadline:
            if os.stat(mountpoint).st_dev != before and not os.access(f"{mountpoint}/no such name", os.F_OK):
                return {"amount": 1}
            time.sleep(0.0005)
        raise TimeoutError(f"not within {seconds:g} s")

    return work


def latency(directories: list[str]) -> Work:
    """Look up, open and list each directory; returns the median of each step, in seconds."""

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


def _told_to_end() -> threading.Event:
    """Set by SIGUSR1."""
    ended = threading.Event()
    signal.signal(signal.SIGUSR1, lambda number, frame: ended.set())
    return ended


def pauses(path: str) -> Work:
    """Stat one file in a loop until SIGUSR1; returns the longest call in seconds.

    statx(2) with AT_STATX_FORCE_SYNC: the kernel would answer an ordinary stat from its cache.
    """
    statx, buffer, name = ctypes.CDLL(None, use_errno=True).statx, ctypes.create_string_buffer(256), os.fsencode(path)
    ended = _told_to_end()

    def work() -> Result:
        longest, count, last = 0.0, 0, time.perf_counter()
        while not ended.is_set():
            if statx(-100, name, 0x2000, 0x7FF, buffer) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
            now = time.perf_counter()
            longest, last, count = max(longest, now - last), now, count + 1
        return {"amount": count, "longest": longest}

    return work


def absent(top: str) -> Work:
    """Look up missing names, each once, until SIGUSR1; returns the longest call in seconds."""
    ended = _told_to_end()

    def work() -> Result:
        longest, count, begun = 0.0, 0, time.monotonic_ns()
        while not ended.is_set():
            started = time.perf_counter()
            os.access(f"{top}/{begun} {count}", os.F_OK)
            longest, count = max(longest, time.perf_counter() - started), count + 1
            time.sleep(0.001)
        return {"amount": count, "longest": longest}

    return work


def command(words: list[str], lines: int, amount: int) -> Work:
    """Run a program, including its start, and check that it prints so many lines."""

    def work() -> Result:
        printed = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
        if printed.count(b"\n") != lines:
            raise ValueError(f"{words[0]} printed {printed.count(10)} lines, not {lines}")
        return {"amount": amount}

    return work


def mutagen(paths: list[str], tag: str, value: str) -> Work:
    """Read all tags of each file, as taggers written in Python do."""
    read = importlib.import_module("mutagen").File

    def work() -> Result:
        for path in paths:
            if read(path)[tag] != [value]:
                raise ValueError(f"{path}: {tag} is not {value}")
        return {"amount": len(paths)}

    return work


def mpd(top: str, place: str, songs: int) -> Work:
    """Let MPD rescan everything, and update on each further run.

    The view is a link in MPD's music directory, which was empty when MPD started.
    """
    directory = tempfile.mkdtemp(prefix="mpd-", dir=place)
    os.mkdir(f"{directory}/music")
    address = f"@{os.path.basename(place)}-{os.path.basename(directory)}"
    lines = [f'music_directory "{directory}/music"', f'bind_to_address "{address}"', f'db_file "{directory}/database"']
    lines += [f'log_file "{directory}/log"', f'connection_timeout "{DAY}"', 'auto_update "no"']
    lines += ['audio_output {\n type "null"\n name "nothing"\n}']
    null = subprocess.DEVNULL
    with open(f"{directory}/mpd.conf", "w") as file:
        file.write("\n".join(lines) + "\n")
    server = subprocess.Popen(["mpd", "--no-daemon", f"{directory}/mpd.conf"], stdin=null, stderr=null)
    connection, deadline = socket.socket(socket.AF_UNIX), time.monotonic() + 20
    while connection.connect_ex("\0" + address[1:]):
        if server.poll() is not None or time.monotonic() > deadline:
            raise ValueError(f"mpd does not listen; its log is\n{_text(f'{directory}/log')}")
        time.sleep(0.01)
    stream = connection.makefile("rw", newline="\n")
    stream.readline()

    def said(order: str) -> dict[str, str]:
        stream.write(order + "\n")
        stream.flush()
        answer = {}
        while (line := stream.readline()) != "OK\n":
            if not line or line.startswith("ACK"):
                raise ValueError(f"mpd: {order}: {line.strip() or 'it has ended'}")
            name, _, answer[name] = line.rstrip("\n").partition(": ")
        return answer

    def until_done() -> None:
        while "updating_db" in said("status"):
            said("idle update")

    until_done()
    os.symlink(top, f"{directory}/music/view")
    orders = itertools.chain(["rescan"], itertools.repeat("update"))

    def work() -> Result:
        said(next(orders))
        until_done()
        if (found := int(said("stats")["songs"])) != songs:
            raise ValueError(f"mpd has {found} songs, not {songs}; its log is\n{_text(f'{directory}/log')}")
        return {"amount": songs}

    return work


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()[-2000:]


def beside(fast: list[str], slow: list[str], count: int) -> Work:
    """Open, read and close cached files ``count`` times; on every second run another process reads slow files.

    The longest call counts.
    """
    for path in fast:
        _beginning(path)
    others = itertools.cycle((False, True))

    def work() -> Result:
        reader = _reader(slow) if next(others) else None
        try:
            longest, last = 0.0, time.perf_counter()
            for path in itertools.islice(itertools.cycle(fast), count):
                _beginning(path)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now
            if reader is not None and os.waitpid(reader, os.WNOHANG) != (0, 0):
                reader = None
                raise ValueError("the slow files cannot be read")
        finally:
            if reader is not None:
                os.kill(reader, signal.SIGKILL)
                os.waitpid(reader, 0)
        return {"amount": 1, "seconds": longest}

    return work


def _reader(paths: list[str]) -> int:
    """Start a process that reads these files in a loop; returns its id once it reads."""
    begun, begins = os.pipe()
    if child := os.fork():
        os.close(begins)
        os.read(begun, 1)
        os.close(begun)
        return child
    try:
        for number, path in enumerate(itertools.cycle(paths)):
            if number == 1:
                os.write(begins, b".")
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 16):
                    pass
    finally:
        os._exit(1)


KINDS: dict[str, Callable[..., Work]] = {
    kind.__name__: kind
    for kind in (walk, tags, read, missing, usable, latency, listing, pauses, absent, command, mutagen, mpd, beside)
}


def serve(kinds: Mapping[str, Callable[..., Work]]) -> None:
    """Take a job from standard input, and run it on request."""
    try:
        job = json.loads(sys.stdin.readline())
        work = kinds[job.pop("kind")](**job)
        _say({"ready": 1})
        while sys.stdin.readline():
            start = time.monotonic_ns()
            result = work()
            _say({"start": start, "end": time.monotonic_ns(), **result})
    except Exception as error:  # reported to the benchmark, which decides
        _say({"error": f"{type(error).__name__}: {error}"})


def _say(what: Mapping[str, object]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    serve(KINDS)
