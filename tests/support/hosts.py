"""A server and two clients connected by a network, each in network, mount and PID namespaces of its own.

1. Addresses, mounts and servers exist in these namespaces only, which have no route to anything outside.
2. When the process that keeps a host is killed, everything in it is, hung or not, and its mounts are removed.
3. The test itself never accesses a mount of a host: processes there do, which it can kill. Mountpoints have the same
   path on each host.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.fresh import REFRESH, Observer, observer
from tests.support.kernel import TYPE, end_processes_of, processes_of
from tests.support.mounts import COMMAND, START, View, journal
from tests.support.nfs import Network
from tests.support.polling import exit_code, holds, poll
from tests.support.servers import unshared
from tests.support.trees import Tree, grow
from tests.support.users import Word, need, output_of, run

SERVER = "10.77.0.1"
"""The server's address."""
MOVING = "10.77.9.9"
"""An address of both clients. The server reaches the one that ``Hosts.move`` was called with."""
FLAGS = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_SCRIPT = f"""
umount --lazy --internal-only --all --types {TYPE.decode()},fuse.hanging || true
for where in /run /var/lib/glusterd /var/log/glusterfs; do [ ! -d $where ] || mount -t tmpfs none $where; done
mkdir -p /run/mount /run/gluster /run/sshd
echo ready; cat; exit
"""
"""The shell is the init process: it must stay, and reap killed processes."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host, which the process ``pid`` keeps. ``place`` is a directory that all hosts and the test share."""

    name: str
    pid: int
    place: Path
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def beside(self, *command: Word) -> list[Word]:
        """The command line that runs a program here; the test must kill it."""
        namespaces = (f"--net=/proc/{self.pid}/ns/net", f"--mount=/proc/{self.pid}/ns/mnt")
        return [need("nsenter"), *namespaces, f"--wd={self.place}", "--", *command]

    def words(self, *command: Word) -> list[Word]:
        """The command line that runs a program here that is killed with the host."""
        program, *namespaces = self.beside()[:-1]
        return [program, f"--pid=/proc/{self.pid}/ns/pid_for_children", *namespaces, "--", *command]

    def run(self, *command: Word) -> "subprocess.CompletedProcess[bytes]":
        """Run a program here."""
        return run(*self.words(*command))

    def output_of(self, *command: Word) -> bytes:
        """The stdout of a program here. Raises AssertionError when it fails."""
        return output_of(*self.words(*command))

    def listens(self, port: int) -> bool:
        """Whether a program on the server listens on the port of its address."""
        return self.run("bash", "-c", f"exec 3<>/dev/tcp/{SERVER}/{port}").returncode == 0

    def mount(self, where: Path, *words: Word) -> None:
        """Mount something here; repeated while the server is still starting."""
        poll(lambda: self.run("mount", *words, where).returncode == 0, f"{words} mounted", START)

    def plant(self, where: Path, tree: Tree) -> None:
        """Add a tree to a directory, which is created if it is missing."""
        with tempfile.TemporaryDirectory(dir=self.place) as staged:
            grow(Path(staged) / "tree", tree)
            self.output_of("sh", "-ec", 'mkdir -p "$2"; cp -r "$1/." "$2"', "sh", f"{staged}/tree", where)

    def network(self) -> Network:
        """This host, for an NFS server."""
        return _Here(self.pid, self)

    @contextlib.contextmanager
    def eyes(self) -> Iterator[Observer]:
        """An observer of what is mounted here."""
        with observer(*map(os.fsdecode, self.beside())) as eyes:
            yield eyes

    def start(self, ready: Callable[[], object], *command: Word) -> None:
        """Run a server here, in the foreground, until the host is removed. Returns once ``ready()`` is true."""
        with open(self.place / f"{self.name}.log", "ab") as log:
            process = self._started(self.words(*command), log)
            assert holds(lambda: process.poll() is not None or ready(), START), f"{command}: {self._log()}"
            assert process.poll() is None, f"{command}: {self._log()}"

    def _log(self) -> str:
        return (self.place / f"{self.name}.log").read_text(errors="replace")

    def _started(
        self, words: Sequence[Word], log: BinaryIO, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            words, cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        self.started.append(process)
        return process

    @contextlib.contextmanager
    def view(self, *sources: Path, options: Sequence[str] = ()) -> Iterator[View]:
        """Mount a view of depth 2 here while the block runs. Its log is checked like that of ``mounted``."""
        where, log = self.place / "view", self.place / f"view-{self.name}.log"
        where.mkdir(exist_ok=True)
        command: list[Word] = [*COMMAND, *sources, where, "--depth=2", REFRESH, *options, "-f", "-v"]
        with open(log, "wb") as file:
            environment = {**journal(file), "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
            process = self._started(self.words(*command), file, environment)
        view = View(where, process.pid, log, process=process)
        try:
            holds(lambda: "is mounted" in view.text() or process.poll() is not None, START)
            assert process.poll() is None, view.text()
            yield view
            self.output_of("umount", where)
            assert exit_code(process, START) == 0, view.text()
            view.check_log()
        finally:
            self.run("umount", "--lazy", "--internal-only", where)


@dataclass(frozen=True)
class _Here(Network):
    host: Host

    def words(self, *command: Word) -> list[Word]:
        return self.host.beside(*command)


@dataclass(frozen=True)
class Side:
    """A host with a view and an observer there. ``order`` has the sources, the preferred one first."""

    host: Host
    view: View
    eyes: Observer
    order: Sequence[Path]

    def path(self, inner: str) -> Path:
        """A path in the view."""
        return self.view.mountpoint / inner

    def differences(self) -> list[str]:
        """The differences between the view and the model."""
        return self.eyes.differences(self.view.mountpoint, self.order, 2)

    def numbers(self, inner: str = "") -> dict[str, int]:
        """The inode numbers of everything in the view, by path."""
        found: dict[str, int] = {}
        for name in self.eyes.names(self.path(inner)):
            path = os.path.join(inner, name)
            st = self.eyes.stat(self.path(path))
            found[path] = st.st_ino
            if stat.S_ISDIR(st.st_mode):
                found.update(self.numbers(path))
        return found

    def error_of(self, inner: str) -> int:
        """The errno of reading a file; 0 where that succeeds."""
        try:
            self.eyes.read(self.path(inner))
        except OSError as error:
            return error.errno or -1
        return 0

    def expect_loss(self) -> None:
        """Declare that the log says that the sources are lost and back; reads may fail before."""
        self.view.may_say(r" cannot be read: (Input/output error|Transport endpoint is not connected)")
        for source in self.order:
            for what in ("lost", "back"):
                self.view.expect(rf"source {source.name} \(.*\) is {what}")

    @property
    def losses(self) -> int:
        """The number of lost sources, by the log."""
        return self.view.text().count("is lost: ") - self.view.text().count("is back")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The server and the two clients, each of which has a link to the server."""

    server: Host
    clients: tuple[Host, Host]
    place: Path

    def cut(self, client: Host) -> None:
        """Set a client's link down."""
        self._ip("link", "set", client.name, "down")

    def mend(self, client: Host) -> None:
        """Set a client's link up."""
        self._ip("link", "set", client.name, "up")

    def move(self, client: Host) -> None:
        """Route MOVING to this client."""
        self._ip("route", "replace", f"{MOVING}/32", "via", f"{_subnet(self.clients.index(client))}.2")

    def _ip(self, *words: Word) -> None:
        _ip(self.server, *words)


def _subnet(number: int) -> str:
    return f"10.77.{number + 1}"


def _ip(host: Host, *words: Word) -> None:
    """Run ip(8) in a host's network namespace only: it names other namespaces by the process ids of this one."""
    output_of("nsenter", f"--net=/proc/{host.pid}/ns/net", "--", need("ip"), *words)


@contextlib.contextmanager
def shown(host: Host, order: Sequence[Path], options: Sequence[str] = ()) -> Iterator[Side]:
    """Mount a view of these sources on a host while the block runs."""
    with host.view(*order, options=options) as view, host.eyes() as eyes:
        yield Side(host, view, eyes, order)


@contextlib.contextmanager
def hosts() -> Iterator[Hosts]:
    """Make a server, two clients and their directory. The test is skipped where the kernel does not permit that."""
    tried = run("unshare", *FLAGS, need("ip"), "link", "add", "one", "type", "veth", "peer", "name", "two")
    if tried.returncode:
        pytest.skip(f"hosts with a network between them cannot be made here: {tried.stderr.decode().strip()}")
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="mmirrorfs-hosts-")))
    place.chmod(0o755)
    try:
        with contextlib.ExitStack() as stack:
            server, one, two = (_host(stack, name, place) for name in ("server", "one", "two"))
            _ip(server, "address", "add", f"{SERVER}/32", "dev", "lo")
            for number, client in enumerate((one, two)):
                _link(server, client, _subnet(number))
            yield Hosts(server, (one, two), place)
        poll(lambda: not processes_of(os.fsencode(place)), "the exit of all processes of the hosts", START)
    finally:
        end_processes_of(os.fsencode(place))
        shutil.rmtree(place)


def _host(stack: contextlib.ExitStack, name: str, place: Path) -> Host:
    host = Host(name, stack.enter_context(unshared(*FLAGS, script=_SCRIPT)), place)
    stack.callback(_reap, host)
    _ip(host, "link", "set", "lo", "up")
    return host


def _reap(host: Host) -> None:
    os.kill(host.pid, 9)
    for process in host.started:
        exit_code(process, START)


def _link(server: Host, client: Host, subnet: str) -> None:
    """Connect two hosts. ``cut`` sets the server's end down, so that the client keeps its routes."""
    peer = ("peer", "name", "eth0", "netns", str(client.pid))
    _ip(server, "link", "add", client.name, "type", "veth", *peer)
    _ip(server, "address", "add", f"{subnet}.1/24", "dev", client.name)
    _ip(server, "link", "set", client.name, "up")
    _ip(client, "address", "add", f"{subnet}.2/24", "dev", "eth0")
    _ip(client, "address", "add", f"{MOVING}/32", "dev", "lo")
    _ip(client, "link", "set", "eth0", "up")
    _ip(client, "route", "add", "default", "via", f"{subnet}.1")
