"""A Samba server with a view as its only share, for guests, and smbclient."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import free_port, listens, serving
from tests.support.users import Word, need, run

_DIRECTORIES = ("private", "lock", "state", "cache", "pid", "ncalrpc")
_GLOBAL = """[global]
server role = standalone server
map to guest = bad user
guest account = nobody
smb ports = {port}
interfaces = 127.0.0.1/8
bind interfaces only = yes
disable netbios = yes
load printers = no
printing = bsd
private dir = {place}/private
lock directory = {place}/lock
state directory = {place}/state
cache directory = {place}/cache
pid directory = {place}/pid
ncalrpc dir = {place}/ncalrpc
log file = {place}/log
[music]
path = {path}
guest ok = yes
"""
_LAST = re.compile('^Try "help"|blocks available|NT_STATUS_|^getting file')
"""smbclient's prompt, which ends its output for a command."""
_ENTRY = re.compile(r"^  (.+?) +([A-Z]+) +(\d+)  \w{3} \w{3} [ \d]\d ")


@dataclass(frozen=True)
class Client:
    """A client that is connected."""

    _process: "subprocess.Popen[str]"

    def ask(self, command: str) -> str:
        """Send a command; returns its output."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self.heard()

    def heard(self) -> str:
        """The output up to the next prompt."""
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said += line
            if _LAST.search(line):
                return said
        raise AssertionError(f"it has ended: {said}")


@dataclass(frozen=True)
class Share:
    """The share, as a client sees it."""

    place: Path
    port: int
    prefix: Sequence[Word] = ()

    @property
    def _client(self) -> list[Word]:
        """The command line of smbclient."""
        where = ["//127.0.0.1/music", f"--port={self.port}", f"--configfile={self.place}/client.conf"]
        return [*self.prefix, need("smbclient"), *where, "--no-pass"]

    def answers(self) -> bool:
        """Whether the server does."""
        return listens(self.port) if not self.prefix else self.say("ls")[0] == 0

    @contextlib.contextmanager
    def connected(self) -> Iterator["Client"]:
        """A client that is connected while the block runs."""
        pipe, words = subprocess.PIPE, [need("stdbuf"), "-oL", *self._client]
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
            try:
                client = Client(process)
                client.heard()
                yield client
            finally:
                process.kill()

    def say(self, *commands: str) -> tuple[int, str]:
        """Run commands in a connection of their own; returns exit code and output."""
        done = run(*self._client, "--command", ";".join(commands), environment={"LC_ALL": "C.UTF-8"})
        return done.returncode, (done.stdout + done.stderr).decode()

    def get(self, where: Path) -> None:
        """Copy everything to a directory."""
        where.mkdir()
        code, said = self.say(f'lcd "{where}"', "recurse", "prompt", "mget *")
        assert code == 0, said

    def tree(self) -> dict[str, int | None]:
        """All paths with their sizes; None for a directory."""
        code, said = self.say("recurse", "ls")
        assert code == 0, said
        found: dict[str, int | None] = {}
        above = ""
        for line in said.splitlines():
            if line.startswith("\\"):
                above = line[1:].replace("\\", "/") + "/"
            elif (entry := _ENTRY.match(line)) and entry[1] not in (".", ".."):
                found[above + entry[1]] = None if "D" in entry[2] else int(entry[3])
        return found


@contextlib.contextmanager
def shared(place: Path, view: Path, *lines: str, traced: bool = False, prefix: Sequence[Word] = ()) -> Iterator[Share]:
    """Share a view, with additional ``lines`` for the share. With ``traced`` strace writes to ``place / "record"``.

    ``prefix`` goes before the commands of server and client.
    """
    for name in _DIRECTORIES:
        (place / name).mkdir(parents=True)
    port = free_port()
    text = _GLOBAL.format(place=place, port=port, path=view) + "\n".join(lines) + "\n"
    (place / "smb.conf").write_text(text)
    (place / "client.conf").write_text(text.partition("[music]")[0])
    words: list[Word] = ["smbd", "--foreground", "--no-process-group", "-s", place / "smb.conf"]
    if traced:  # -D: the server is ours to end, not the tracer
        words = ["strace", "-D", "-f", "-y", "-o", place / "record", need("smbd"), *words[1:]]
    share = Share(place, port, prefix)
    with serving(place, share.answers, *prefix, *words):
        yield share
